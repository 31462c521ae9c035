"""Networks written from unseen initialisations: how good, how much they depend on the init, and whether they resemble
the network that training makes of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.universal.budget import Budget
from benchmarks.universal.generators import Source
from benchmarks.universal.kept import Kept, Progress, Row
from benchmarks.universal.subjects import completed
from benchmarks.universal.training import BATCH, LEARNING_RATE, trained
from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset
from weightsmith.ensemble import Evaluation, evaluate
from weightsmith.evaluation.dependence import Dependence, Spread
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.intervals import LEVEL, RESAMPLES
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

NOISE = 0  # the sampler's seed: the same for all inits


def architecture(data: Dataset) -> Architecture:
    """The 421,642-parameter CNN."""
    return Architecture("target_cnn", data.input_shape, data.classes)


def trained_inits(kept: Kept, data: Dataset, budget: Budget, work: Path) -> list[Row]:
    """A network trained from each unseen init: rows with its test accuracy; its weights lie beside."""
    wanted = kept.share.of_all(range(budget.inits))
    progress, rows = Progress("inits", len(wanted)), []
    for number in wanted:
        file = _file(work, budget, number)
        key = {"part": "inits", "init": number, "epochs": budget.init_epochs, "rate": LEARNING_RATE, "batch": BATCH}
        found = kept.row(lambda n=number, file=file: _train(n, data, budget, file), again=not file.exists(), **key)
        rows.append({"kind": "trained from init", "init": number, **found})
        progress.done(f"init {number}: {found['accuracy']:.4f}")
    return rows


def measured(source: Source, data: Dataset, budget: Budget, work: Path) -> list[Row]:
    """Rows of every output, and one of what is asked of all of them."""
    source.require_from_start()
    module, progress = architecture(data).build(0), Progress("start", 3)
    blueprint = Blueprint.of(ParameterGraph.of(module, data.input_shape))
    states = [torch.load(_file(work, budget, n), weights_only=True) for n in range(budget.inits)]
    targets = Weights.of(module).layout.flatten(states)
    outputs = Weights.concatenate([_written(source, blueprint, data, n) for n in range(budget.inits)])
    judged = [evaluate(module, networks, data.test) for networks in (outputs, targets)]
    progress.done(f"accuracies {[round(one.accuracy, 4) for one in judged[0]]}")
    distance = NetworkDistance.of(module, data)
    ours, theirs = distance.canonical(outputs), distance.canonical(targets)
    dependence = Dependence.of(_spread(distance, ours, judged[0]), _spread(distance, theirs, judged[1]))
    progress.done(f"init dependence {dependence.init_dependence}, {dependence.function_dependence}")
    aligned, plain = distance.between(ours, theirs), NetworkDistance(None, distance.active, distance.values)
    rows = [
        {"kind": "output", "init": n, "accuracy": one.accuracy, "distances": aligned[n].tolist()}
        for n, one in enumerate(judged[0])
    ]
    found = {
        "accuracy": statistics.fmean(one.accuracy for one in judged[0]),
        "worst_accuracy": min(one.accuracy for one in judged[0]),
        "trained_accuracy": statistics.fmean(one.accuracy for one in judged[1]),
        "init_dependence": dependence.init_dependence,
        "function_dependence": dependence.function_dependence,
        **affinity(aligned, "start_affinity"),
        **affinity(plain.between(ours, theirs), "unaligned_start_affinity"),
        "distance": distance.name,
    }
    progress.done(f"start affinity {found['start_affinity']:.4f}")
    return [*rows, {"kind": "start", "generator": source.name, "inits": budget.inits, **found}]


def affinity(distances: Float[Tensor, "output network"], name: str) -> dict[str, float]:
    """`mean_i d_ii / mean_{i != j} d_ij`, distances from the output of init `i` to the network trained from init `j`.

    The interval is a percentile bootstrap over outputs. Below 1: nearer to what its own init becomes.
    """
    count = len(distances)
    own = distances.diagonal().double()
    others = (distances.double().sum(1) - own) / (count - 1)
    drawn = torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(0))
    again = own[drawn].mean(1) / others[drawn].mean(1)
    low, high = again.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)).tolist()
    return {name: float(own.mean() / others.mean()), f"{name}_low": low, f"{name}_high": high}


def _init(data: Dataset, number: int) -> nn.Module:
    return architecture(data).build(derive_seed(number, "unseen init of the start-conditioned part"))


def _train(number: int, data: Dataset, budget: Budget, file: Path) -> Row:
    module = _init(data, number)
    order = derive_seed(number, "order of an unseen init")
    *_, last = trained(module, Weights.of(module), data, order, budget.init_epochs, LEARNING_RATE)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(last.weights.states()[0], file)
    return {"accuracy": evaluate(module, last.weights, data.test)[0].accuracy, "epochs": budget.init_epochs}


def _written(source: Source, blueprint: Blueprint, data: Dataset, number: int) -> Weights:
    module = _init(data, number)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        tensors = source.generator.from_start(blueprint, start, torch.Generator().manual_seed(NOISE))
    return completed(module, tensors)


def _spread(distance: NetworkDistance, canonical: Weights, found: Sequence[Evaluation]) -> Spread:
    return Spread.of(distance, canonical, torch.stack([one.predictions for one in found]))


def _file(work: Path, budget: Budget, number: int) -> Path:
    return work / "inits" / f"{number}-{budget.init_epochs}.pt"
