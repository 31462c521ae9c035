"""The stages of a run, in order; each does what is missing and nothing twice."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import weightsmith
from weightsmith.architectures import Architecture
from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import ArtifactError, Diverged
from weightsmith.files import exclusive_lock
from weightsmith.interruption import check_interrupted
from weightsmith.layout import Weights
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.measure import measure_run
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.pipeline.planning import requests_of
from weightsmith.report import write_report
from weightsmith.seeds import derive_seed
from weightsmith.settings.recipe import Recipe, require_one_form
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.training import Trainer, TrainingProgress
from weightsmith.zoo import Zoo
from weightsmith.zoo.build import Engine, EpochReport, build_zoo, divergences


class Reporter(Protocol):
    """Is told how the work goes; a progress bar, a log, or nothing."""

    def stage(self, title: str, total: int) -> None: ...

    def advance(self, text: str, by: int = 1, fresh: bool = True) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Reports nothing."""

    def stage(self, title: str, total: int) -> None:
        pass

    def advance(self, text: str, by: int = 1, fresh: bool = True) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def architecture_of(run: RunFolder) -> Architecture:
    """The architecture that the recipe names, for the run's data."""
    wanted = run.recipe.architecture
    shape, classes = run.dataset.input_shape, run.dataset.classes
    return Architecture(wanted.name, shape, classes, wanted.options, typed_by_user=run.typed_by_user)


EngineFactory = Callable[[Recipe], Engine]


def local_engine(recipe: Recipe) -> Engine:
    """Processes of this machine, as many as a resolved recipe says."""
    return LocalEngine(recipe.zoo.workers, recipe.zoo.threads)


def build_stage(run: RunFolder, reporter: Reporter, engine: EngineFactory = local_engine) -> None:
    """Train the recipe's runs and capture their trajectories, on the engine that is made for them."""
    settings = run.recipe.zoo
    provenance = {"weightsmith": weightsmith.__version__, "command": command_line()}
    progress = _Progress(reporter, settings.epochs)
    zoo = build_zoo(run.zoo, run.plan.tasks, engine(run.recipe), provenance, progress.epoch, progress.begin)
    for reason in divergences(zoo).values():
        reporter.note(f"{reason}; kept up to its last good epoch")


class _Progress:
    """Tells the reporter of epochs, and how many networks a second they come to."""

    def __init__(self, reporter: Reporter, epochs: int) -> None:
        self._reporter, self._epochs = reporter, epochs
        self._done, self._started = 0, time.monotonic()

    def begin(self, missing: int) -> None:
        self._started = time.monotonic()
        if missing:
            self._reporter.stage(f"training {missing:,} networks, {self._epochs} epochs each", missing * self._epochs)

    def epoch(self, epoch: EpochReport) -> None:
        who = f"run {epoch.run}" if epoch.networks == 1 else f"{epoch.networks} runs from {epoch.run}"
        shown = "" if epoch.accuracy is None else f", validation accuracy {epoch.accuracy:.4f}"
        done = epoch.networks * epoch.epochs
        self._done += 0 if epoch.resumed else done
        rate = self._done / self._epochs / max(1e-9, time.monotonic() - self._started)
        speed = f", {rate:.3g} networks/s" if self._done else ""
        text = f"{who}: epoch {epoch.epoch} of {self._epochs}{shown}{speed}"
        self._reporter.advance(text, done, fresh=not epoch.resumed)


def train_stage(run: RunFolder, reporter: Reporter) -> None:
    """Train one generator on each run's trajectory, and save a synthesizer for every budget.

    Raises `Diverged` where a run ended before its first epoch, so that there is no step to learn from it.
    """
    zoo, settings = Zoo.open(run.zoo), run.recipe.training
    lost = [reason for name, reason in divergences(zoo).items() if len(zoo.select(run=name)) < 2]
    if lost:
        remedy = "lower zoo.learning_rate and start a new run with --out"
        raise Diverged(f"no generator can be trained without a checkpoint: {'; '.join(lost)}", remedy)
    unfinished = [
        pipeline
        for pipeline in range(len(zoo.runs))
        if not all((run.synthesizer(pipeline, budget) / "config.json").exists() for budget in settings.budgets)
    ]
    for pipeline in set(range(len(zoo.runs))).difference(unfinished):
        run.training_state(pipeline).unlink(missing_ok=True)  # of a process killed after its last synthesizer
    if not unfinished:
        return
    reporter.stage(f"training {len(unfinished)} generators", len(unfinished) * max(settings.budgets.values()))
    for pipeline in unfinished:
        weights, _ = zoo.trajectory(pipeline)
        _train_generator(run, pipeline, weights, reporter)


def _train_generator(run: RunFolder, pipeline: int, weights: Weights, reporter: Reporter) -> None:
    recipe, settings = run.recipe, run.recipe.training
    seed = derive_seed(recipe.seed, "pipeline", pipeline)
    codec, generator = (Part(part.name, part.options) for part in (recipe.codec, recipe.generator))
    synthesizer = Synthesizer.fit(weights, architecture_of(run), codec, generator, derive_seed(seed, "generator"))
    device, state = choose_device(recipe.device), run.training_state(pipeline)
    pairs = transition_pairs(synthesizer.codec.encode(weights))
    examples = {name: value.to(device) for name, value in pairs.items()}
    synthesizer.generator.network.to(device)
    log = MetricsLog(run.metrics)

    def on_epoch(progress: TrainingProgress) -> None:
        log.epoch(pipeline, progress)
        reporter.advance(f"generator {pipeline}: epoch {progress.epoch}, loss {progress.loss:.3g}")

    trainer = Trainer(
        synthesizer.generator,
        transition_loss,
        examples,
        settings.batch_size,
        settings.learning_rate,
        derive_seed(seed, "training"),
        state,
        on_epoch,
        check_interrupted,
    )
    with contextlib.closing(log):
        log.rewind(pipeline, trainer.progress.epoch)
        for budget, epochs in sorted(settings.budgets.items(), key=lambda item: item[1]):
            trainer.run(epochs)
            folder = run.synthesizer(pipeline, budget)
            if folder.exists():
                continue
            if trainer.progress.epoch > epochs:
                raise ArtifactError(f"{folder} is missing, and training has gone past it", f"delete {state} and resume")
            origin = {"trained on": f"run {pipeline} of the zoo, {len(weights)} checkpoints", "budget": budget}
            synthesizer.with_provenance(_provenance(run, trainer) | origin).save(folder)
    trainer.optimizer.close()
    state.unlink(missing_ok=True)


def _provenance(run: RunFolder, trainer: Trainer) -> dict[str, Any]:
    """Where a generator comes from and how well it fits. Its loss is to be read beside that of answering with the
    mean of the targets, whatever is asked: what a trained model must beat."""
    targets, progress = trainer.examples["next"], trainer.progress
    return {
        "recipe": run.recipe.name,
        "data set": asdict(requests_of(run.recipe)[0]),
        "data set fingerprint": run.dataset.fingerprint,
        "epochs": progress.epoch,
        "updates": progress.updates,
        "loss": _finite_loss(trainer),
        "loss of the mean": float((targets - targets.mean(dim=0)).square().mean()),
        "seconds": progress.seconds,
        "command": command_line(),
    }


def _finite_loss(trainer: Trainer) -> float:
    loss = trainer.loss()
    if not math.isfinite(loss):
        raise Diverged(f"training loss is {loss} after epoch {trainer.progress.epoch}", "lower training.learning_rate")
    return loss


def evaluate_stage(run: RunFolder, reporter: Reporter) -> None:
    """Measure every generator, baseline and original network on the test split."""
    measure_run(run, architecture_of(run), reporter)


def report_stage(run: RunFolder, reporter: Reporter) -> None:
    """Write the report from the records."""
    reporter.stage("writing the report", 1)
    write_report(run.records, run.report, run.plots, run.recipe.name, run.recipe.training.headline)
    reporter.advance(str(run.report))


@dataclass(frozen=True)
class Stage:
    name: str
    do: Callable[[RunFolder, Reporter], None]


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("zoo", build_stage),
        Stage("train", train_stage),
        Stage("evaluate", evaluate_stage),
        Stage("report", report_stage),
    )
}


def run_pipeline(
    recipe: Recipe,
    folder: Path | str,
    *,
    until: str = "report",
    reporter: Reporter | None = None,
    engine: EngineFactory = local_engine,
) -> RunFolder:
    """Run the stages up to `until`, going on where an earlier call stopped; the zoo is built on the engine given.

    Raises `BadInput` for a recipe that varies what the later stages hold fixed.
    """
    if until != "zoo":
        require_one_form(recipe)
    reporter = reporter or Silent()
    run = RunFolder.prepare(Path(folder), recipe, reporter.note)
    complete(run, until=until, reporter=reporter, engine=engine)
    return run


def complete(
    run: RunFolder, *, until: str = "report", reporter: Reporter | None = None, engine: EngineFactory = local_engine
) -> None:
    """Do what is missing of a run up to the stage `until`; one process at a time.

    Raises `EnvironmentFault` when another process is at work on it.
    """
    with exclusive_lock(run.path / ".lock", f"the run {run.path}"):
        for stage in STAGES.values():
            do = partial(build_stage, engine=engine) if stage.name == "zoo" else stage.do
            do(run, reporter or Silent())
            if stage.name == until:
                return
