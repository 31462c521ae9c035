"""A zoo of networks of many architectures, each trained a little, and its checkpoints as a flow learns from them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import Split, draw
from weightsmith.datasets import Dataset, DatasetRequest, load_dataset
from weightsmith.ensemble import Member, Method, TrainingPlan, can, choose_precision, evaluate, train_networks
from weightsmith.environment import describe_environment
from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks.checkpoints import Checkpoints
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed
from weightsmith.symmetry import Symmetry
from weightsmith.zoo import RowInfo, Zoo

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class MixedZooPlan:
    """The first `networks` architectures of a split, one network of each, trained with Adam at a constant rate.

    Each is balanced (scales that leave its function as it was are taken out) before it is stored. Units are not
    aligned: there is no reference that networks of different forms share.
    """

    networks: int
    split: Split = "training"
    epochs: int = 2
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


def build_mixed_zoo(
    folder: Path, request: DatasetRequest, plan: MixedZooPlan, workers: int = 1, on_row: Callable[[str], None] = print
) -> Zoo:
    """Train what the zoo in `folder` lacks, in so many processes, and give it.

    A network is stored when it is trained, so that a build goes on where it was stopped, also towards more networks.
    Raises `BadInput` where the zoo was built in another way.
    """
    data = load_dataset(request)
    about = {**asdict(plan), "kind": "mixed", "dataset": data.name, "fingerprint": data.fingerprint}
    about.pop("networks")
    if not (folder / "zoo.json").exists():
        Zoo.create(folder, about)
    with Zoo.writer(folder) as writer:
        if writer.zoo.about != about:
            raise BadInput(f"{folder} was built as {dict(writer.zoo.about)}, not as {about}", "choose another folder")
        stored = {*writer.zoo.runs, *(row.run for row in writer.zoo.quarantined)}
        missing = [number for number in range(plan.networks) if number not in stored]
        for trained in _trained(missing, request, plan, workers):
            provenance = {
                **about,
                "architecture": trained.architecture.to_json(),
                "environment": describe_environment(),
            }
            writer.append(trained.weights(), [trained.row], provenance)
            on_row(f"network {trained.row.run}: {trained.architecture.name} {trained.row.metrics}")
    return Zoo.open(folder)


def read_checkpoints(zoo: Zoo) -> Checkpoints:
    """Every network of a zoo of any architectures, with the architecture that its provenance states.

    Raises `BadInput` for a zoo that states none, or one that is not registered.
    """
    architectures, weights = [], []
    for row in zoo.rows:
        stated = zoo.provenance(row).get("architecture")
        if stated is None:
            raise BadInput(
                f"{zoo.path} does not state the architecture of run {row.run!r}", "build it by benchmarks.universal_zoo"
            )
        architectures.append(Architecture.from_json(stated))
        weights.append(zoo.read([row]).states()[0])
    return Checkpoints(architectures, weights)


@dataclass(frozen=True)
class _Trained:
    """One network as plain arrays, which processes hand over by value."""

    architecture: Architecture
    row: RowInfo
    vector: np.ndarray
    integers: dict[str, np.ndarray]

    def weights(self) -> Weights:
        integers = {name: torch.from_numpy(value) for name, value in self.integers.items()}
        return Weights(self.architecture.layout, torch.from_numpy(self.vector), integers)


def _trained(numbers: Sequence[int], request: DatasetRequest, plan: MixedZooPlan, workers: int) -> Iterator[_Trained]:
    work = partial(_train, request, plan)
    if workers == 1:
        yield from map(work, numbers)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(work, numbers)
        finally:
            pool.shutdown(cancel_futures=True)


_DATA: dict[DatasetRequest, Dataset] = {}  # of this process: read once


def _train(request: DatasetRequest, plan: MixedZooPlan, number: int) -> _Trained:
    """Train, measure and balance one network; what it is follows from the plan and its number."""
    if request not in _DATA:
        _DATA[request] = load_dataset(request)
    data = _DATA[request]
    architecture = draw(plan.split, number, data.input_shape, data.classes)
    seed, precision = derive_seed(plan.seed, "mixed zoo", number), choose_precision("auto", _CPU)
    module = architecture.build(seed)
    training = TrainingPlan(plan.epochs, plan.batch_size, "adam", precision)
    member = Member(derive_seed(seed, "training"), plan.learning_rate)
    method: Method = "stacked" if can("stacked", module) else "loop"
    *_, last = train_networks(module, Weights.of(module), data.train, training, [member], method=method)
    found: dict[str, Any] = {"loss": float(last.losses[0]), "accuracy": None}
    weights = last.weights
    if bool(weights.finite().all()):
        found["accuracy"] = evaluate(module, weights, data.validation)[0].accuracy
        weights = Symmetry.of_graph(ParameterGraph.of(module.eval(), architecture.input_shape)).balance(weights)
    row = RowInfo(number, last.step, seed, {name: _finite(value) for name, value in found.items()})
    return _Trained(architecture, row, weights.vectors.numpy(), {k: v.numpy() for k, v in weights.integers.items()})


def _finite(value: float | None) -> float | None:
    return value if value is not None and bool(Tensor([value]).isfinite()) else None
