"""Train a universal generator, and save it as a synthesizer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import BadInput, Diverged
from weightsmith.generators.universal import make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.extent import Extent
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.interruption import check_interrupted
from weightsmith.objectives.task import IMAGES, LABELS
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.metrics import MetricsLog, read_metrics
from weightsmith.pipeline.planning import requests_of
from weightsmith.pipeline.universal.drawn import pool_of
from weightsmith.pipeline.universal.objectives import OBJECTIVES
from weightsmith.pipeline.universal.watching import monitors_of
from weightsmith.reporter import Reporter
from weightsmith.seeds import derive_seed
from weightsmith.settings.recipe import Recipe
from weightsmith.training import LoopSettings, Trainer, TrainingProgress
from weightsmith.universal import Coverage, UniversalSynthesizer

FLOOR = 0.02  # of the step size, at the end of a cosine
SKIPPED = 20  # batches in a row that may be left out: an architecture now and then blows up


def train_stage(run: RunFolder, reporter: Reporter) -> None:
    """Train the generator for as long as the recipe says, and save the synthesizer."""
    if (run.universal / "config.json").exists():
        run.universal_state.unlink(missing_ok=True)  # of a process killed after it had saved the synthesizer
        return
    reporter.stage("training the universal synthesizer", epochs_of(run.recipe))
    with _one_thread(run.recipe):
        _train(run, reporter)
    run.universal_state.unlink(missing_ok=True)


def start_of(recipe: Recipe) -> nn.Module | None:
    """The hypernetwork that training goes on with, where the recipe names one.

    Raises `BadInput` where its sizes are others than the recipe's, or it reads weights.
    """
    name, wanted = recipe.universal.start, asdict(HypernetworkSizes(**recipe.generator.options))
    if name is None:
        return None
    synthesizer = UniversalSynthesizer.load(name)
    if synthesizer.begins_at_weights:
        raise BadInput(
            f"universal.start={name!r} begins at given weights, and what is trained here writes from noise",
            "name a synthesizer that writes from noise",
        )
    saved = synthesizer.generator.network
    found = asdict(saved.sizes)
    for size in ("noise", "dim", "rank", "depth", "heads", "context"):
        if wanted[size] != found[size]:
            raise BadInput(
                f"universal.start={name!r} has {size} {found[size]}, this recipe {wanted[size]}",
                f"use generator.options.{size}={found[size]}",
            )
    return saved


def epochs_of(recipe: Recipe) -> int:
    """The length of training."""
    return max(recipe.training.budgets.values())


def _train(run: RunFolder, reporter: Reporter) -> None:
    recipe, settings, device = run.recipe, run.recipe.training, choose_device(run.recipe.device)
    pool = pool_of(run)
    generator = make_universal(
        derive_seed(recipe.seed, "universal", "generator"), HypernetworkSizes(**recipe.generator.options)
    )
    if (start := start_of(recipe)) is not None:
        generator.network.load_state_dict(start.state_dict())
    generator.network.to(device)
    objective = OBJECTIVES[recipe.universal.objective](pool, recipe.universal)
    log = MetricsLog(run.metrics, every=1)

    def on_epoch(progress: TrainingProgress) -> None:
        log.epoch(0, progress, peak_rss_mb=objective.peak_memory)
        reporter.advance(_said(progress))

    with contextlib.closing(log), contextlib.closing(objective):
        trainer = Trainer(
            generator,  # type: ignore[arg-type]  # it makes no tokens; the loop asks for its network alone
            objective,
            {name: value.to(device) for name, value in _examples(run).items()},
            settings.batch_size,
            settings.learning_rate,
            derive_seed(recipe.seed, "universal", "training"),
            run.universal_state,
            on_epoch,
            check_interrupted,
            loop_settings(recipe),
            monitors=monitors_of(run),
            on_alarm=reporter.note,
        )
        log.rewind(0, trainer.progress.epoch)
        if trainer.progress.epoch:
            reporter.advance(f"resumed after epoch {trainer.progress.epoch}", trainer.progress.epoch, fresh=False)
        trainer.run(epochs_of(recipe))
        trainer.save()  # what follows takes minutes
        _require_finite(trainer)
    trainer.finish()
    generator.network.cpu()
    covers = Coverage.of(_extents(pool, reporter), requests_of(recipe)[0], run.dataset)
    UniversalSynthesizer(generator, covers, _origin(run, trainer.progress)).save(run.universal)


def loop_settings(recipe: Recipe) -> LoopSettings:
    """How the recipe says that the generator is trained."""
    settings = recipe.training
    return LoopSettings(
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        planned_epochs=epochs_of(recipe),
        warmup_updates=settings.warmup,
        floor=FLOOR if settings.schedule == "cosine" else 0.0,
        clip_norm=settings.clip or math.inf,  # the norm is measured anyway
        ema_decay=settings.average or None,
        precision=settings.precision,
        updates_per_epoch=settings.updates,
        skip_nonfinite=SKIPPED,
        monitor_every=recipe.universal.monitor_every,
    )


def _examples(run: RunFolder) -> dict[str, torch.Tensor]:
    return {IMAGES: run.dataset.train.images, LABELS: run.dataset.train.labels}


@contextlib.contextmanager
def _one_thread(recipe: Recipe) -> Iterator[None]:
    """Inside, this process computes as each of those that help it does, so that their number changes no bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if recipe.device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_finite(trainer: Trainer) -> None:
    """Raise `Diverged` where the weights to be saved compute nothing; the last update may have made them so."""
    loss = trainer.loss(trainer.batch_size)
    if not math.isfinite(loss):
        raise Diverged(f"training loss is {loss} after epoch {trainer.progress.epoch}", "lower training.learning_rate")


def _extents(pool: ArchitecturePool, reporter: Reporter) -> Iterator[Extent]:
    """What training on the architectures of the pool covers; those that other processes traced are traced again."""
    reporter.stage("reading the range of architectures", len(pool))
    for number in range(len(pool)):
        check_interrupted()
        yield pool.extent(number)
        reporter.advance(f"architecture {number}")


def _origin(run: RunFolder, progress: TrainingProgress) -> dict[str, Any]:
    universal = run.recipe.universal
    return {
        "recipe": run.recipe.name,
        "objective": universal.objective,
        "started from": universal.start,
        "trained on": f"{universal.pool:,} architectures of the splits {', '.join(universal.splits)}",
        "families": universal.families.weights,
        "data set": asdict(requests_of(run.recipe)[0]),
        "data set fingerprint": run.dataset.fingerprint,
        "epochs": progress.epoch,
        "updates": progress.updates,
        "loss": progress.loss if math.isfinite(progress.loss) else None,
        "validation accuracy": dict(progress.monitors),
        "seconds": progress.seconds,
        "peak_rss_mb": max((line.get("peak_rss_mb", 0.0) for line in read_metrics(run.metrics)), default=0.0) or None,
        "command": command_line(),
    }


def _said(progress: TrainingProgress) -> str:
    watched = [value for value in progress.monitors.values() if value is not None]
    shown = f", validation accuracy {min(watched):.3f} or more" if watched else ""
    return f"epoch {progress.epoch}: loss {progress.loss:.3g}{shown}"
