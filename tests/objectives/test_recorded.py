"""Recorded gradients: nothing waits for a device while one is computed, and a replay gives what eager code does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import SPLITS
from weightsmith.generators.universal import UniversalGenerator, make_started, make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.network import Drawn
from weightsmith.hypernetworks.pool import ArchitecturePool, ChosenPool
from weightsmith.objectives.job import Job
from weightsmith.objectives.recorded import Recorded, _alias, clipped_gradient, dealt, lanes_of
from weightsmith.objectives.task import TaskLoss

SIZES = HypernetworkSizes(noise=3, dim=8, rank=5, depth=1, heads=2, context=1, fixed_share=0.3, start_share=0.2)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Waits(TorchDispatchMode):
    """Refuses what waits for a device, or takes numbers to it from the host."""

    _REFUSED = ("_local_scalar_dense", "nonzero", "bincount", "lift_fresh", "_to_copy", "unique", "masked_select")

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert not any(name in str(func) for name in self._REFUSED), func
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def pool() -> ArchitecturePool:
    return ArchitecturePool(SPLITS, 25, input_shape=(1, 8, 8), classes=3)


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {"images": torch.randn(70, 1, 8, 8, generator=rng), "labels": torch.randint(3, (70,), generator=rng)}


def test_nothing_waits_once_an_architecture_has_been_computed(pool: ArchitecturePool, batch: dict[str, Tensor]) -> None:
    generator = make_universal(0, SIZES)
    for number in range(len(pool)):
        prepared = pool[number]
        drawn = generator.drawn(prepared.blueprint, torch.Generator().manual_seed(number), 0.1)
        losses = [
            F.cross_entropy(prepared(generator.written(prepared.blueprint, drawn), batch["images"]), batch["labels"])
        ]
        with Waits():
            weights = generator.written(prepared.blueprint, drawn)
            losses.append(F.cross_entropy(prepared(weights, batch["images"]), batch["labels"]))
            clipped_gradient(losses[1], generator, 1.0)
        assert torch.equal(*losses)


def test_nothing_waits_while_a_network_is_written_from_a_start(batch: dict[str, Tensor]) -> None:
    options = {"channels": [8, 9], "blocks": [1, 1], "norm": "batch", "head_kind": "flatten"}
    forms = (
        Architecture("target_cnn", (1, 8, 8), 3, {"channels1": 4, "channels2": 5, "hidden": 6}),
        Architecture("residual", (1, 8, 8), 3, options),
        Architecture("vit", (1, 8, 8), 3, {"patch": 4, "dim": 12, "heads": 2, "pool": "token"}),
    )
    generator, few = make_started(0, replace(SIZES, start_share=0.5)), ChosenPool(forms)
    for number in range(len(few)):
        prepared = few[number]
        blueprint, start = prepared.blueprint, prepared.start(number)
        first = generator.from_start(blueprint, start, torch.Generator())
        with Waits():
            weights = generator.from_start(blueprint, start, torch.Generator())
            clipped_gradient(F.cross_entropy(prepared(weights, batch["images"]), batch["labels"]), generator, 1.0)
        assert all(torch.equal(first[name], weights[name]) for name in weights)


def test_an_alias_has_the_same_tensors_and_gradients_of_its_own(pool: ArchitecturePool) -> None:
    generator, rng = make_universal(0, SIZES), torch.Generator().manual_seed(0)
    alias = _alias(generator)
    drawn = generator.drawn(pool[0].blueprint, rng)
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter *= 1.1
    one, two = (made.written(pool[0].blueprint, drawn) for made in (generator, alias))
    assert all(torch.equal(one[name], two[name]) for name in one)
    next(iter(two.values())).sum().backward()
    assert all(parameter.grad is None for parameter in generator.network.parameters())
    assert any(parameter.grad is not None for parameter in alias.network.parameters())


def on_gpu(generator: UniversalGenerator, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    generator.network.to("cuda")
    return {name: value.cuda() for name, value in batch.items()}


@needs_cuda
@pytest.mark.filterwarnings("error:.*cannot be recorded:RuntimeWarning")
@pytest.mark.parametrize("autocast", [False, True])
def test_replays_are_what_eager_code_computes(pool: ArchitecturePool, batch: dict[str, Tensor], autocast: bool) -> None:
    generator = make_universal(0, SIZES)
    images, labels = on_gpu(generator, batch).values()
    recorded = Recorded(pool, generator, len(pool), 0.5)
    for turn in range(6):
        shown = images[: 70 - 9 * (turn % 2)], labels[: 70 - 9 * (turn % 2)]
        jobs = [Job(number, 100 * turn + number, *shown, autocast, 0.1, 20) for number in range(len(pool))]
        expected = [eager(pool, generator, job, 0.5) for job in jobs]
        loss, gradient = recorded.sums(jobs)
        torch.testing.assert_close(loss, sum(one for one, _ in expected), rtol=1e-3, atol=1e-3)
        wanted = torch.stack([one for _, one in expected]).sum(0)
        assert float((gradient - wanted).norm()) < 0.02 * float(wanted.norm())
        with torch.no_grad():
            for parameter in generator.network.parameters():
                parameter += 0.01 * torch.randn_like(parameter)  # replays see what an optimizer has changed


def eager(pool: ArchitecturePool, generator: UniversalGenerator, job: Job, largest: float) -> tuple[Tensor, Tensor]:
    prepared, rng = pool[job.number], torch.Generator("cuda").manual_seed(job.seed)
    images, labels = job.shown(prepared, rng)
    drawn = generator.drawn(prepared.blueprint, rng, job.blur)
    with torch.autocast("cuda", torch.bfloat16, enabled=job.autocast):
        logits = prepared(generator.written(prepared.blueprint, Drawn(*drawn)), images)
    loss = F.cross_entropy(logits.float(), labels)
    return loss.detach(), clipped_gradient(loss, generator, largest)


@needs_cuda
@pytest.mark.filterwarnings("error:.*cannot be recorded:RuntimeWarning")
def test_networks_that_begin_at_given_weights_are_recorded_too(batch: dict[str, Tensor]) -> None:
    form = Architecture("target_cnn", (1, 8, 8), 3, {"channels1": 4, "channels2": 5, "hidden": 6})
    generator, few = make_started(0, replace(SIZES, start_share=0.5)), ChosenPool((form,))
    images, labels = on_gpu(generator, batch).values()
    recorded = Recorded(few, generator, 2, math.inf)
    for turn in range(4):
        jobs = [Job(0, 10 * turn + number, images, labels, fewest=70) for number in range(5)]
        loss, gradient = recorded.sums(jobs)
        expected = torch.zeros((), device="cuda")
        for job in jobs:
            weights = generator.from_start(few[0].blueprint, few[0].start(job.seed), torch.Generator())
            expected = expected + F.cross_entropy(few[0](weights, images), labels)
        wanted = clipped_gradient(expected, generator, math.inf)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-3, atol=1e-3)
        assert float((gradient - wanted).norm()) < 0.02 * float(wanted.norm())


@needs_cuda
@pytest.mark.filterwarnings("error:.*cannot be recorded:RuntimeWarning")
def test_the_task_loss_on_a_gpu_draws_of_every_lane_alike(pool: ArchitecturePool, batch: dict[str, Tensor]) -> None:
    generator, objective = make_universal(0, SIZES), TaskLoss(pool, 16)
    there = on_gpu(generator, batch)
    losses = []
    for seed in (1, 1, 2):
        record = objective(generator, there, torch.Generator().manual_seed(seed))
        record.loss.backward()
        losses.append(float(record.loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


@pytest.mark.parametrize("count", [6, 12])
def test_every_architecture_is_drawn_alike_and_of_every_lane_as_many(count: int) -> None:
    rng, counts = torch.Generator().manual_seed(0), Counter[int]()
    for _ in range(4000 // count):
        drawn = dealt(40, count, rng)
        assert max(Counter(number % lanes_of(40) for number in drawn).values()) == math.ceil(count / lanes_of(40))
        counts.update(drawn)
    assert len(counts) == 40
    assert min(counts.values()) > 60  # of 100, and a standard deviation of 10
    assert max(counts.values()) < 140


def test_a_gradient_is_clipped_only_where_its_norm_is_finite() -> None:
    generator = make_universal(0, SIZES)
    first = next(generator.network.parameters())
    for factor, wanted in ((3.0, 1.0), (0.01, 0.01 * math.sqrt(first.numel())), (3e19, math.inf)):
        found = clipped_gradient(first.sum() * factor, generator, 1.0)
        assert float(found.norm()) == pytest.approx(wanted, rel=1e-4)
    assert float(found.max()) == pytest.approx(3e19)
    assert float(clipped_gradient(first.sum(), generator, math.inf).max()) == 1.0
