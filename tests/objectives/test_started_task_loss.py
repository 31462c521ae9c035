"""The task loss of networks that begin at given weights, and images that are shifted while it is minimised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.generators.universal import StartedGenerator, make_started
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import ChosenPool
from weightsmith.objectives.shifted import Shifted, shifted
from weightsmith.objectives.task import TaskLoss
from weightsmith.training.identity import identity

SIZES = HypernetworkSizes(noise=9, dim=8, rank=5, depth=1, heads=2, start_share=0.5)
FORM = Architecture("target_cnn", (1, 4, 8), 3, {"channels1": 4, "channels2": 5, "hidden": 6})


@pytest.fixture(scope="module")
def pool() -> ChosenPool:
    return ChosenPool((FORM,))


@pytest.fixture(scope="module")
def generator() -> StartedGenerator:
    return make_started(0, SIZES)


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {"images": torch.randn(70, 1, 4, 8, generator=rng), "labels": torch.randint(3, (70,), generator=rng)}


@pytest.fixture
def two_workers(pool: ChosenPool, quick_workers: None) -> Iterator[Shifted]:
    found = Shifted(TaskLoss(pool, 3, workers=2), 1)
    yield found
    found.close()


def gradients(
    objective: TaskLoss | Shifted, generator: StartedGenerator, batch: dict[str, Tensor]
) -> tuple[float, Tensor]:
    loss = objective(generator, batch, torch.Generator().manual_seed(7)).loss
    found = torch.autograd.grad(loss, list(generator.network.parameters()))
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in found])


def test_each_network_begins_at_a_fresh_initialisation(
    pool: ChosenPool, generator: StartedGenerator, batch: dict[str, Tensor]
) -> None:
    rng = torch.Generator().manual_seed(7)
    torch.randint(1, (3,), generator=rng)
    losses = []
    for seed in torch.randint(2**62, (3,), generator=rng).tolist():
        start = {name: value.detach() for name, value in FORM.build(seed).named_parameters()}
        logits = pool[0](generator.from_start(pool[0].blueprint, start, rng), batch["images"])
        losses.append(float(F.cross_entropy(logits, batch["labels"]).detach()))
    assert len(set(losses)) == 3
    assert gradients(TaskLoss(pool, 3), generator, batch)[0] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_two_processes_compute_bitwise_what_one_does(
    two_workers: Shifted, pool: ChosenPool, generator: StartedGenerator, batch: dict[str, Tensor]
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, two = (gradients(each, generator, batch) for each in (Shifted(TaskLoss(pool, 3), 1), two_workers))
    finally:
        torch.set_num_threads(threads)
    assert one[0] == two[0]
    assert torch.equal(one[1], two[1])
    names = [name for name, _ in generator.network.named_parameters()]
    sizes = [p.numel() for p in generator.network.parameters()]
    reached = {name.partition(".")[0] for name, g in zip(names, one[1].split(sizes), strict=True) if bool(g.any())}
    assert reached == {"encoder", "body"}


def test_every_image_moves_by_itself_and_repeats_its_sides() -> None:
    images = torch.arange(2 * 3 * 5.0).reshape(1, 2, 3, 5).repeat(400, 1, 1, 1)
    moved = shifted(images, 1, 0.5, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    rows, columns = torch.arange(3), torch.arange(5)
    known = {
        (dy, dx): images[0][:, (rows + dy).clamp(0, 2)][:, :, (columns + dx).clamp(0, 4)]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    counts = {move: int((moved == value).flatten(1).all(1).sum()) for move, value in known.items()}
    assert sum(counts.values()) == 400
    assert counts.pop((0, 0)) == pytest.approx(400 * (0.5 + 0.5 / 9), abs=45)
    assert all(6 < count < 45 for count in counts.values())
    assert torch.equal(shifted(images, 2, 1e-9, torch.Generator().manual_seed(1)), images)


def test_a_measured_loss_is_of_images_as_they_are(
    pool: ChosenPool, generator: StartedGenerator, batch: dict[str, Tensor]
) -> None:
    plain, moving = TaskLoss(pool, 2), Shifted(TaskLoss(pool, 2), 2, 1.0)
    with torch.no_grad():
        one, other = (each(generator, batch, torch.Generator().manual_seed(3)).loss for each in (plain, moving))
    assert torch.equal(one, other)
    assert gradients(plain, generator, batch)[0] != gradients(moving, generator, batch)[0]


def test_shifts_are_part_of_what_a_training_is_and_checked(pool: ChosenPool) -> None:
    task = TaskLoss(pool, 2)
    found = {identity(objective=each) for each in (task, Shifted(task, 1), Shifted(task, 2), Shifted(task, 1, 0.25))}
    assert len(found) == 4
    for pixels, share, said in ((0, 0.5, "0 pixels"), (-1, 0.5, "-1 pixels"), (1, 0.0, "share of 0"), (1, 1.5, "1.5")):
        with pytest.raises(BadInput, match=said):
            Shifted(task, pixels, share)
