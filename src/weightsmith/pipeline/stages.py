"""The stages of a run, in order; each does what is missing and nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import weightsmith
from weightsmith.engines.local import LocalEngine
from weightsmith.environment import command_line
from weightsmith.files import exclusive_lock
from weightsmith.pipeline.folder import MANIFEST, RunFolder
from weightsmith.pipeline.planning import require_one_shape
from weightsmith.pipeline.units import measure
from weightsmith.report import report_of
from weightsmith.reporter import Reporter, Silent, counted
from weightsmith.settings.experiment import learns_zoo, require_experiment, require_zoo
from weightsmith.settings.recipe import Recipe
from weightsmith.settings.registry import EXPERIMENTS, load_entry
from weightsmith.zoo import Zoo
from weightsmith.zoo.build import Engine, EpochReport, build_zoo, divergences

EngineFactory = Callable[[Recipe], Engine]


def local_engine(recipe: Recipe) -> Engine:
    """Processes of this machine, as many as a resolved recipe says."""
    return LocalEngine(recipe.zoo.workers, recipe.zoo.threads)


def build_stage(run: RunFolder, reporter: Reporter, engine: EngineFactory = local_engine) -> None:
    """Train the runs of the recipe, if it has a zoo, on the engine that is made for them."""
    settings = run.recipe.zoo
    if not learns_zoo(run.recipe):
        return
    if settings.folder is not None:
        Zoo.open(run.zoo)  # it must be there, and whole as far as can be seen at once
        return
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
            self._reporter.stage(
                f"training {counted(missing, 'network')}, {counted(self._epochs, 'epoch')} each", missing * self._epochs
            )

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
    """Train the generators that the recipe's kind of experiment asks for."""
    load_entry(f"weightsmith.pipeline.{EXPERIMENTS[run.recipe.generator.name]}.train:train_stage")(run, reporter)


def evaluate_stage(run: RunFolder, reporter: Reporter) -> None:
    """Measure every generator, baseline and original network on the test split."""
    units = load_entry(f"weightsmith.pipeline.{EXPERIMENTS[run.recipe.generator.name]}.measure:units")
    measure(run, units, reporter)


def report_stage(run: RunFolder, reporter: Reporter) -> None:
    """Write the report from the records."""
    reporter.stage("writing the report", 1)
    write = report_of(run.recipe.generator.name).write
    write(run.records, run.report, run.plots, run.recipe.name, run.recipe.training.headline)
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

    Raises `BadInput` for a recipe that the later stages could not follow.
    """
    if until == "zoo":
        require_zoo(recipe)
    else:
        require_experiment(recipe)
        require_one_shape(recipe)
    if recipe.universal.start is not None and not (Path(folder) / MANIFEST).exists():
        load_entry("weightsmith.pipeline.universal.train:start_of")(recipe)  # refused before there is a folder
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
