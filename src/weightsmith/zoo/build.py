"""Build a zoo: train many runs, capture their weights on the way, seal each group of runs when it ends."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch
from torch import nn

from weightsmith.architectures.misfit import misfit
from weightsmith.datasets import Dataset, load_dataset
from weightsmith.ensemble import LARGEST_LOSS, Capture, Evaluation, choose_device, evaluate, train_networks
from weightsmith.errors import ArtifactError, BadInput, Diverged, Interrupted
from weightsmith.hashed import read_sealed_json
from weightsmith.layout import Layout, Weights
from weightsmith.seeds import derive_seed
from weightsmith.tensorfile import can_hold
from weightsmith.zoo.rows import RowInfo, Run
from weightsmith.zoo.store import MANIFEST, Zoo
from weightsmith.zoo.tasks import GroupTask, StatePlace
from weightsmith.zoo.unfinished import (
    UNFINISHED,
    Captured,
    Metrics,
    StateFile,
    drop_states,
    require_places,
    state_file,
)

_REMEDY = "lower zoo.learning_rate"
_HELD: deque[Dataset] = deque(maxlen=2)


@dataclass(frozen=True)
class FinishedGroup:
    """Trained runs: their checkpoints, run after run, what was measured of each, and the data they were made with."""

    weights: Weights
    rows: Sequence[RowInfo]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class EpochReport:
    """So many `networks`, the first of which is `run`, have trained `epochs` epochs more, and stand at `epoch`.

    `resumed`: they had trained them before, and were read from disk. `accuracy`: the median on validation images.
    """

    run: Run
    networks: int
    epoch: int
    epochs: int
    accuracy: float | None
    resumed: bool = False


class Engine(Protocol):
    """Runs tasks somewhere and yields the results as they come; handed to `build_zoo` as an argument."""

    def map(
        self,
        function: Callable[[Any, Callable[[Any], None], Callable[[], None]], Any],
        tasks: Sequence[Any],
        report: Callable[[Any], None],
    ) -> Iterator[Any]:
        """`function(task, report, check)` for every task; `check` raises `Interrupted` when work must stop."""
        ...


def build_zoo(
    path: Path,
    tasks: Sequence[GroupTask],
    engine: Engine,
    provenance: Mapping[str, Any],
    report: Callable[[EpochReport], None] = lambda report: None,
    begin: Callable[[int], None] = lambda missing: None,
) -> Zoo:
    """Train the runs that the zoo lacks and append each group as one segment when it ends; returns the zoo, opened.

    `begin` is told how many runs are missing, and `report` of every epoch.
    Interrupted or killed, it goes on from the last saved epoch of each unfinished group when called again. A run that
    diverges is kept up to its last good capture, and the reason stands in its rows. Raises `Diverged` when every run
    did.
    """
    if not (path / MANIFEST).exists():
        Zoo.create(path, {"made by": "weightsmith zoo build"})
    with Zoo.writer(path) as writer:
        require_places(path)
        known = {*writer.zoo.runs, *(entry.run for entry in writer.zoo.quarantined)}
        drop_states(path, known)  # of a process killed after it had stored the runs
        missing = [
            replace(task, state=StatePlace(state_file(path, task.first.run), path.absolute(), writer.zoo.id))
            for task in _missing(tasks, known, path)
        ]
        begin(sum(len(task.runs) for task in missing))
        try:
            for finished in engine.map(train_group, missing, report):
                writer.append(finished.weights, finished.rows, {**finished.provenance, **provenance})
                drop_states(path, {row.run for row in finished.rows})
        finally:
            _HELD.clear()  # of tasks that ran in this process
    with contextlib.suppress(OSError):
        (path / UNFINISHED).rmdir()
    zoo, reasons = writer.zoo, divergences(writer.zoo)
    bad = {entry.run: f"run {entry.run}: {entry.reason}" for entry in zoo.quarantined} | reasons
    if bad and reasons.keys() >= set(zoo.runs):
        raise Diverged(f"every run diverged: {next(iter(bad.values()))}", f"{_REMEDY} and build a new zoo")
    return zoo


def _missing(tasks: Sequence[GroupTask], known: set[Run], path: Path) -> list[GroupTask]:
    """The groups of which no run is known. Raises `BadInput` for one of which some are: its company is another."""
    missing = []
    for task in tasks:
        there = [spec.run for spec in task.runs if spec.run in known]
        if there and len(there) < len(task.runs):
            other = next(spec.run for spec in task.runs if spec.run not in known)
            raise BadInput(
                f"runs {', '.join(map(str, there))} are in {path}, and would be trained together with run {other}",
                "give the groups with which the zoo was begun, or build a new one",
            )
        if not there:
            missing.append(task)
    return missing


def divergences(zoo: Zoo) -> dict[Run, str]:
    """The runs of a zoo that diverged, each with the reason; they are kept up to their last good capture."""
    return {row.run: str(row.extra["diverged"]) for row in zoo.rows if "diverged" in row.extra}


def train_group(task: GroupTask, report: Callable[[EpochReport], None], check: Callable[[], None]) -> FinishedGroup:
    """Train a group of runs with capture of their trajectories, from its last saved epoch if there is one."""
    dataset = _data_of(task)
    modules = [task.first.architecture.build(derive_seed(spec.seed(task.seed), "init")) for spec in task.runs]
    module, initial = modules[0], Weights.of(*modules)
    _require_fit(task, module, dataset)
    saved = StateFile(_usable(task.state), task.fingerprint)
    found = saved.load(initial.layout)
    captured, resume = found if found else (Captured(), None)

    def tell(epoch: int, epochs: int, resumed: bool = False) -> None:
        known = [value for metrics in captured.metrics[-1] if (value := metrics["accuracy"]) is not None]
        accuracy = median(known) if known else None
        report(EpochReport(task.first.run, len(task.runs), epoch, epochs, accuracy, resumed))

    device = choose_device(task.device)
    if resume is None:
        captured.add(0, initial, _measured(module, initial, dataset, task, device, None))
    else:
        tell(resume.epoch, resume.epoch, resumed=True)
    members = [spec.member(task.seed) for spec in task.runs]
    training = train_networks(
        module, initial, dataset.train, task.first.plan, members,
        method=task.method, device=device, resume=resume, check=check,
    )  # fmt: skip
    try:
        for capture in training:
            _end_diverged(captured, capture)
            if len(captured.ended) == len(task.runs):
                break
            measured = _measured(module, capture.weights, dataset, task, device, capture.losses)
            captured.add(capture.step, capture.weights, measured)
            if capture.state is not None:
                saved.offer(captured, capture.state)
                tell(capture.epoch, 1)
    except (Interrupted, KeyboardInterrupt):
        saved.flush()
        raise
    return _finished(task, captured, dataset)


def _end_diverged(captured: Captured, capture: Capture) -> None:
    """Runs whose loss or weights are not finite end before this capture."""
    epoch = capture.epoch if capture.state is not None else capture.epoch + 1
    finite = capture.weights.finite()
    for place, loss in enumerate(capture.losses.tolist()):
        if not loss < LARGEST_LOSS:
            captured.end(place, f"loss is {loss:.3g} in epoch {epoch}")
        elif not bool(finite[place]):
            captured.end(place, f"weights are not finite in epoch {epoch}")


def _measured(
    module: nn.Module,
    weights: Weights,
    dataset: Dataset,
    task: GroupTask,
    device: torch.device,
    train_losses: torch.Tensor | None,
) -> list[Metrics]:
    """What each network does on the validation images; `None` where a number is not finite."""
    found = evaluate(module, weights, dataset.validation, precision=task.first.plan.precision, device=device)
    losses = [None] * len(weights) if train_losses is None else train_losses.tolist()
    return [_metrics(evaluation, loss) for evaluation, loss in zip(found, losses, strict=True)]


def _metrics(evaluation: Evaluation, train_loss: float | None) -> Metrics:
    numbers = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "train_loss": train_loss}
    sound = math.isfinite(evaluation.loss)
    return {name: value if value is not None and math.isfinite(value) and (sound or name == "train_loss") else None
            for name, value in numbers.items()}  # fmt: skip


def _finished(task: GroupTask, captured: Captured, dataset: Dataset) -> FinishedGroup:
    """The good captures as rows, run after run. `step` counts epochs, or optimizer steps where those are captured."""
    plan = task.first.plan
    size, rows, places = len(task.runs), [], []
    for place, spec in enumerate(task.runs):
        extra = {"optimizer": plan.optimizer, "learning_rate": spec.learning_rate, "weight_decay": spec.weight_decay}
        extra |= {"batch_size": plan.batch_size} | ({"momentum": spec.momentum} if plan.optimizer == "sgd" else {})
        extra |= {"architecture": spec.architecture.name, "dataset": spec.dataset.name}
        if place in captured.ended:
            extra["diverged"] = f"run {spec.run}: {captured.ended[place][1]}"
        for i in range(captured.good(place)):
            step = captured.steps[i] if plan.capture_steps else i
            rows.append(RowInfo(spec.run, step, spec.seed(task.seed), captured.metrics[i][place], extra))
            places.append(i * size + place)
    provenance = {
        "architecture": task.first.architecture.to_json(),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "training": {**asdict(plan), "method": task.method, "together": size},
        "measured_on": "validation",
    }
    return FinishedGroup(Weights.concatenate(captured.weights)[places], rows, provenance)


def _usable(state: StatePlace | None) -> Path | None:
    """The state's file, if this process can write into the zoo that it belongs to; one on another machine may not."""
    if state is None or not os.access(state.zoo, os.W_OK):
        return None
    try:
        return state.file if read_sealed_json(state.zoo / MANIFEST).get("id") == state.zoo_id else None
    except (ArtifactError, OSError, AttributeError):
        return None


def _require_fit(task: GroupTask, module: nn.Module, dataset: Dataset) -> None:
    """Refuse networks that cannot be stored, or cannot read the images, before hours are spent."""
    name, images = task.first.architecture.name, list(dataset.input_shape)
    odd = next((spec for spec in Layout.of(module).tensors if not can_hold(spec.torch_dtype)), None)
    if odd is not None:
        raise BadInput(
            f"networks of architecture {name!r} cannot be stored: tensor {odd.name!r} is {odd.dtype}",
            "make it of real numbers, two for each complex one",
        )
    problem = misfit(module, dataset.train.head(2).images, dataset.classes)
    if problem:
        raise BadInput(
            f"architecture {name!r} cannot read images {images}: {problem}",
            "choose an architecture and a data set that fit each other",
        )


def _data_of(task: GroupTask) -> Dataset:
    """The data of a task, kept for the next one: reading them anew takes longer than a small network.

    Raises `BadInput` where they are not those that the zoo was begun with, as may be on another machine.
    """
    dataset = load_dataset(task.first.dataset)
    if task.first.data not in (None, dataset.fingerprint):
        raise BadInput(
            f"data set {task.first.dataset.name!r} on {socket.gethostname()} is not the one that the zoo is made with",
            "put the same files there",
        )
    if not any(held is dataset for held in _HELD):
        _HELD.append(dataset)
    return dataset
