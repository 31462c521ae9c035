"""Train a generator on every run's trajectory."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict
from typing import Any

from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import ArtifactError, Diverged
from weightsmith.interruption import check_interrupted
from weightsmith.layout import Weights
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.pipeline.planning import requests_of
from weightsmith.reporter import Reporter, counted
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.training import Trainer, TrainingProgress
from weightsmith.zoo import Zoo
from weightsmith.zoo.build import divergences


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
    reporter.stage(
        f"training {counted(len(unfinished), 'generator')}", len(unfinished) * max(settings.budgets.values())
    )
    for pipeline in unfinished:
        weights, _ = zoo.trajectory(pipeline)
        _train_generator(run, pipeline, weights, reporter)


def _train_generator(run: RunFolder, pipeline: int, weights: Weights, reporter: Reporter) -> None:
    recipe, settings = run.recipe, run.recipe.training
    seed = derive_seed(recipe.seed, "pipeline", pipeline)
    codec, generator = (Part(part.name, part.options) for part in (recipe.codec, recipe.generator))
    synthesizer = Synthesizer.fit(weights, run.architecture, codec, generator, derive_seed(seed, "generator"))
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
