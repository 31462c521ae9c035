"""The task loss: its gradient is that of the mean loss, clipped a network; processes share it and change no bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.generators.universal import UniversalGenerator, make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.objectives import job
from weightsmith.objectives.task import TaskLoss
from weightsmith.training.identity import identity

SIZES = HypernetworkSizes(noise=3, dim=8, rank=5, depth=1, heads=2)
CHEAP = {"mlp": 1, "axial": 1}


@pytest.fixture(scope="module")
def pool() -> ArchitecturePool:
    return ArchitecturePool("training", 3, CHEAP, (1, 4, 5), 3)


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {"images": torch.randn(70, 1, 4, 5, generator=rng), "labels": torch.randint(3, (70,), generator=rng)}


@pytest.fixture(scope="module")
def generator() -> UniversalGenerator:
    return make_universal(0, SIZES)


@pytest.fixture
def two_workers(pool: ArchitecturePool, quick_workers: None) -> Iterator[TaskLoss]:
    found = TaskLoss(pool, 5, workers=2)
    yield found
    found.close()


def gradients(objective: TaskLoss, generator: UniversalGenerator, batch: dict[str, Tensor]) -> tuple[float, Tensor]:
    loss = objective(generator, batch, torch.Generator().manual_seed(7)).loss
    found = torch.autograd.grad(loss, list(generator.network.parameters()))
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in found])


def plain(
    pool: ArchitecturePool, count: int, generator: UniversalGenerator, batch: dict[str, Tensor], rng: torch.Generator
) -> list[Tensor]:
    """The losses of the networks that are drawn, as one would write them down."""
    numbers = torch.randint(len(pool), (count,), generator=rng).tolist()
    seeds = torch.randint(2**62, (count,), generator=rng).tolist()
    losses = []
    for number, seed in zip(numbers, seeds, strict=True):
        weights = generator.weights(pool[number].blueprint, torch.Generator().manual_seed(seed))
        losses.append(F.cross_entropy(pool[number](weights, batch["images"]), batch["labels"]))
    return losses


def flat(loss: Tensor, generator: UniversalGenerator) -> Tensor:
    parameters = list(generator.network.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def test_the_gradient_is_that_of_the_mean_loss_where_nothing_is_clipped(
    pool: ArchitecturePool, generator: UniversalGenerator, batch: dict[str, Tensor]
) -> None:
    loss, gradient = gradients(TaskLoss(pool, 5, largest_gradient=math.inf), generator, batch)
    expected = torch.stack(plain(pool, 5, generator, batch, torch.Generator().manual_seed(7))).mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(gradient, flat(expected, generator), rtol=1e-3, atol=1e-5)


def test_each_network_s_gradient_is_clipped_by_itself(
    pool: ArchitecturePool, generator: UniversalGenerator, batch: dict[str, Tensor]
) -> None:
    _, gradient = gradients(TaskLoss(pool, 3, largest_gradient=0.25), generator, batch)
    each = [flat(one, generator) for one in plain(pool, 3, generator, batch, torch.Generator().manual_seed(7))]
    assert any(one.norm() > 0.25 for one in each)
    clipped = [one * min(1.0, 0.25 / float(one.norm())) for one in each]
    torch.testing.assert_close(gradient, torch.stack(clipped).mean(0), rtol=1e-3, atol=1e-6)


def test_two_processes_compute_bitwise_what_one_does(
    two_workers: TaskLoss, pool: ArchitecturePool, generator: UniversalGenerator, batch: dict[str, Tensor]
) -> None:
    alone = TaskLoss(pool, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for bf16 in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                one, two = (gradients(objective, generator, batch) for objective in (alone, two_workers))
            assert one[0] == two[0]
            assert torch.equal(one[1], two[1])
    finally:
        torch.set_num_threads(threads)
    assert two_workers.peak_memory is not None
    assert alone.peak_memory is not None
    assert two_workers.peak_memory > alone.peak_memory + 10


def test_autocast_reaches_the_networks(
    pool: ArchitecturePool, generator: UniversalGenerator, batch: dict[str, Tensor]
) -> None:
    exact, _ = gradients(TaskLoss(pool, 5), generator, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = gradients(TaskLoss(pool, 5), generator, batch)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.05)


def test_a_loss_alone_needs_no_processes(
    pool: ArchitecturePool, generator: UniversalGenerator, batch: dict[str, Tensor]
) -> None:
    objective = TaskLoss(pool, 5, workers=9)
    with torch.no_grad():
        loss = objective(generator, batch, torch.Generator().manual_seed(7)).loss
    assert not loss.requires_grad
    assert objective._replicas is None
    assert float(loss) == pytest.approx(gradients(TaskLoss(pool, 5), generator, batch)[0], rel=1e-6)


def test_networks_that_cost_much_see_fewer_images(
    pool: ArchitecturePool, batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job.Job(0, 5, batch["images"], batch["labels"], fewest=50)
    assert len(made.shown(pool[0], torch.Generator())[1]) == 70
    monkeypatch.setattr(job, "_CHEAP", 1)
    images, labels = made.shown(pool[0], torch.Generator())
    assert len(images) == len(labels) == 50
    rows = [int((batch["images"] == image).flatten(1).all(1).nonzero()) for image in images]
    assert len(set(rows)) == 50
    assert torch.equal(batch["labels"][rows], labels)


def test_a_training_is_the_same_whoever_shares_its_work_and_whatever_was_traced() -> None:
    fresh = ArchitecturePool("training", 3, CHEAP, (1, 4, 5), 3)
    named = identity(objective=TaskLoss(fresh, 5))
    used = copy.copy(fresh)
    _ = used[0]
    assert identity(objective=TaskLoss(used, 5, workers=2)) == named
    assert identity(objective=TaskLoss(fresh, 4)) != named
    assert identity(objective=TaskLoss(ArchitecturePool("training", 3, {"mlp": 1}, (1, 4, 5), 3), 5)) != named
