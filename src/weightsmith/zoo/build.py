"""Build a zoo: train many runs, capture the initial weights and those after every epoch, seal each run when it ends."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest, load_dataset
from weightsmith.ensemble import TrainingPlan, choose_device, evaluate, train_network
from weightsmith.errors import BadInput, Diverged
from weightsmith.files import sweep_leftovers
from weightsmith.hashed import fingerprint
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed
from weightsmith.zoo.rows import RowInfo, Run
from weightsmith.zoo.store import Zoo
from weightsmith.zoo.unfinished import Captured, load_unfinished, save_unfinished

UNFINISHED = "unfinished"


@dataclass(frozen=True)
class RunTask:
    """Everything that one run depends on, so that any process on any machine trains it alike."""

    run: int
    seed: int
    architecture: Architecture
    dataset: DatasetRequest
    plan: TrainingPlan
    device: str
    state_path: Path

    @property
    def fingerprint(self) -> str:
        """What must not change between the parts of an interrupted run."""
        dataset = load_dataset(self.dataset).fingerprint
        return fingerprint([self.run, self.seed, self.architecture.to_json(), dataset, asdict(self.plan)])


@dataclass(frozen=True)
class FinishedRun:
    """A trained run: its checkpoints and what was measured; `diverged` says why it ended early, if it did."""

    run: int
    weights: Weights
    rows: Sequence[RowInfo]
    diverged: str | None


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one run is done."""

    run: int
    epoch: int
    epochs: int
    images: int
    metrics: Mapping[str, float | None]


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
    tasks: Sequence[RunTask],
    engine: Engine,
    provenance: Mapping[str, Any],
    report: Callable[[EpochReport], None] = lambda report: None,
) -> Zoo:
    """Train the runs that the zoo lacks and append each as one segment when it ends; returns the zoo, opened.

    Interrupted or killed, it goes on from the last epoch of each unfinished run when called again. A run that diverges
    is kept up to its last good epoch, and the reason stands in its rows. Raises `Diverged` when every run did.
    """
    if not (path / "zoo.json").exists():
        Zoo.create(path, {"made by": "weightsmith zoo build"})
    with Zoo.writer(path) as writer:
        sweep_leftovers(path / UNFINISHED)
        present = set(writer.zoo.runs)
        states: dict[Run, Path] = {task.run: task.state_path for task in tasks}
        for run, state in states.items():
            if run in present:
                state.unlink(missing_ok=True)  # of a process killed after it had stored the run
        for finished in engine.map(train_run, [task for task in tasks if task.run not in present], report):
            writer.append(finished.weights, finished.rows, {**provenance, "run": finished.run})
            states[finished.run].unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (path / UNFINISHED).rmdir()
    zoo = Zoo.open(path)
    reasons = divergences(zoo)
    if reasons and len(reasons) == len(zoo.runs):
        raise Diverged(f"every run diverged: {reasons[zoo.runs[0]]}", "lower zoo.learning_rate and build a new zoo")
    return zoo


def divergences(zoo: Zoo) -> dict[Run, str]:
    """The runs of a zoo that diverged, each with the reason; they are kept up to their last good epoch."""
    return {row.run: str(row.extra["diverged"]) for row in zoo.rows if "diverged" in row.extra}


def train_run(task: RunTask, report: Callable[[EpochReport], None], check: Callable[[], None]) -> FinishedRun:
    """Train one run with capture of its trajectory, from its last saved epoch if there is one."""
    dataset = load_dataset(task.dataset)
    device = choose_device(task.device)
    seed = derive_seed(task.seed, "zoo", "run", task.run)
    module = task.architecture.build(derive_seed(seed, "init"))
    _require_fit(task, module, dataset.input_shape)
    captured, resume = load_unfinished(task.state_path, task.fingerprint, Weights.of(module).layout)

    def measure(weights: Weights, train_loss: float | None) -> dict[str, float | None]:
        found = evaluate(module, weights, dataset.validation, precision=task.plan.precision, device=device)[0]
        return {"accuracy": found.accuracy, "loss": found.loss, "train_loss": train_loss}

    if captured is None:
        initial = Weights.of(module)
        captured = Captured(initial, [measure(initial, None)])
    diverged = None
    try:
        for state in train_network(module, dataset.train, task.plan, seed, device, resume, check):
            weights = Weights.of(module).to("cpu")
            if not bool(weights.finite().all()):
                raise Diverged(f"weights are not finite after epoch {state.epoch}", "lower zoo.learning_rate")
            captured = captured.extended(weights, measure(weights, state.train_loss))
            save_unfinished(task.state_path, task.fingerprint, captured, state)
            epoch = EpochReport(
                task.run, state.epoch, task.plan.epochs, len(dataset.train.images), captured.metrics[-1]
            )
            report(epoch)
    except Diverged as error:
        diverged = f"run {task.run}: {error.message}"
    extra = {"diverged": diverged} if diverged else {}
    rows = [RowInfo(task.run, step, seed, metrics, extra) for step, metrics in enumerate(captured.metrics)]
    return FinishedRun(task.run, captured.weights, rows, diverged)


def _require_fit(task: RunTask, module: Any, input_shape: tuple[int, ...]) -> None:
    """Refuse an architecture that cannot read the data, before hours are spent."""
    dataset = load_dataset(task.dataset)
    try:
        with torch.no_grad():
            outputs = copy.deepcopy(module).eval()(dataset.train.head(2).images)
        expected = (2, dataset.classes)
        problem = None if tuple(outputs.shape) == expected else f"it gives {list(outputs.shape)}, not {list(expected)}"
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise BadInput(
            f"architecture {task.architecture.name!r} cannot read images {list(input_shape)}: {problem}",
            "choose an architecture and a data set that fit each other",
        )
