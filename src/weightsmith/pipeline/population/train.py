"""Train one generator on the networks of every architecture in a zoo."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import ArtifactError, BadInput, Diverged
from weightsmith.interfaces import Condition
from weightsmith.interruption import check_interrupted
from weightsmith.objectives.matching import VALUES, matching_loss
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.pipeline.planning import requests_of
from weightsmith.pipeline.population.members import Member, members_of
from weightsmith.reporter import Reporter, counted
from weightsmith.seeds import derive_seed
from weightsmith.settings.experiment import told_datasets
from weightsmith.settings.recipe import EvaluationSettings, TrainingSettings
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.training import LoopSettings, Monitor, Trainer, TrainingProgress
from weightsmith.zoo import Zoo

FLOOR = 0.05  # of the step size, at the end of a cosine
MONITOR_EVERY = 10  # epochs
WATCHED = 32  # samples that the alarm looks at
COLLAPSED = 0.5  # of the training networks' mean distance


def train_stage(run: RunFolder, reporter: Reporter) -> None:
    """Train a generator for every architecture, and save a synthesizer for every budget."""
    zoo, settings = Zoo.open(run.zoo), run.recipe.training
    missing = []
    for member in members_of(run, zoo):
        there = [_is_there(run, member, budget) for budget in settings.budgets]
        if all(there):
            run.training_state(member.number).unlink(missing_ok=True)  # of a process killed after its last synthesizer
        else:
            missing.append(member)
    if not missing:
        return
    reporter.stage(f"training {counted(len(missing), 'generator')}", len(missing) * max(settings.budgets.values()))
    for member in missing:
        _train(run, zoo, member, reporter)


def _is_there(run: RunFolder, member: Member, budget: str) -> bool:
    """Whether a synthesizer was saved. Raises `BadInput` where it learned from other networks than the zoo's now."""
    folder = run.synthesizer(member.number, budget)
    if not (folder / "config.json").exists():
        return False
    member.require_learned(Synthesizer.provenance_in(folder), folder)
    return True


def _train(run: RunFolder, zoo: Zoo, member: Member, reporter: Reporter) -> None:
    recipe, settings, device = run.recipe, run.recipe.training, choose_device(run.recipe.device)
    seed = derive_seed(recipe.seed, "member", member.number)
    codec, generator = (Part(part.name, part.options) for part in (recipe.codec, recipe.generator))
    weights = member.read(zoo, "train")
    synthesizer = Synthesizer.fit(weights, member.architecture, codec, generator, derive_seed(seed, "generator"))
    network: Any = synthesizer.generator.network
    columns = _columns(network, member, "train")
    network.conditions.observe({name: column for name, column in columns.items() if column.is_floating_point()})
    _require_askable(network, recipe.evaluation)
    examples = {VALUES: synthesizer.codec.encode(weights).values, **columns}
    del weights
    validation = None
    if member.parts["validation"] and settings.validate_every:
        tokens = synthesizer.codec.encode(member.read(zoo, "validation"))
        validation = {VALUES: tokens.values, **_columns(network, member, "validation")}
    network.to(device)
    log, state = MetricsLog(run.metrics), run.training_state(member.number)

    def on_epoch(progress: TrainingProgress) -> None:
        log.epoch(member.number, progress)
        reporter.advance(f"{member.name}: epoch {progress.epoch}, loss {progress.loss:.3g}")

    trainer = Trainer(
        synthesizer.generator,
        matching_loss,
        _on(examples, device),
        settings.batch_size,
        settings.learning_rate,
        derive_seed(seed, "training"),
        state,
        on_epoch,
        check_interrupted,
        loop_settings(settings),
        None if validation is None else _on(validation, device),
        _alarms(run, member, examples[VALUES], derive_seed(seed, "alarm")),
        lambda text: reporter.note(f"{member.name}: {text}"),
    )
    with contextlib.closing(log):
        log.rewind(member.number, trainer.progress.epoch)
        for budget, epochs in sorted(settings.budgets.items(), key=lambda item: item[1]):
            trainer.run(epochs)
            folder = run.synthesizer(member.number, budget)
            if folder.exists():
                continue
            if trainer.progress.epoch > epochs:
                raise ArtifactError(f"{folder} is missing, and training has gone past it", f"delete {state} and resume")
            _require_finite(trainer, settings.batch_size)
            origin = _origin(run, member, trainer) | {"budget": budget}
            with trainer.chosen_weights():
                synthesizer.with_provenance(origin).save(folder)
    trainer.optimizer.close()
    state.unlink(missing_ok=True)


def _require_askable(network: Any, settings: EvaluationSettings) -> None:
    """Raise `BadInput` for accuracies that the evaluation will ask for and the zoo does not hold."""
    asked = [value for value in (settings.wanted_from, settings.wanted_to) if value is not None]
    if settings.wanted and asked:
        network.conditions.batch(Condition(accuracy=torch.tensor(asked)), len(asked))


def _require_finite(trainer: Trainer, batch_size: int) -> None:
    """Raise `Diverged` where the weights to be saved compute nothing; the last update may have made them so."""
    loss = trainer.loss(batch_size)
    if not math.isfinite(loss):
        raise Diverged(f"training loss is {loss} after epoch {trainer.progress.epoch}", "lower training.learning_rate")


def loop_settings(settings: TrainingSettings) -> LoopSettings:
    """How the recipe says that a generator is trained."""
    return LoopSettings(
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        planned_epochs=max(settings.budgets.values()) or None,
        warmup_updates=settings.warmup,
        floor=FLOOR if settings.schedule == "cosine" else 0.0,
        clip_norm=settings.clip or None,
        ema_decay=settings.average or None,
        precision=settings.precision,
        updates_per_epoch=settings.updates or None,
        validate_every=settings.validate_every or 1,
        patience=settings.patience or None,
        monitor_every=MONITOR_EVERY,
    )


def _alarms(run: RunFolder, member: Member, training: Tensor, seed: int) -> dict[str, Monitor]:
    """One alarm, or one for every data set that is told apart; none where one network of each was learned."""
    learned = [member.learned[row.run] for row in member.parts["train"]]
    alarms = {}
    for share in member.shares(told_datasets(run.recipe)):
        if not share.is_single:
            own = torch.tensor([share.dataset in (None, name) for name in learned])
            name = "dispersion" if share.dataset is None else f"dispersion on {share.dataset}"
            alarms[name] = _collapse_alarm(training[own.to(training.device)], Condition(dataset=share.dataset), seed)
    return alarms


def _collapse_alarm(training: Tensor, condition: Condition, seed: int) -> Monitor:
    """Warns where samples lie far closer to one another than the training networks do, both as tokens.

    It looks at no image: it is the mean distance over pairs of samples, over that of pairs of training networks.
    """
    some = training[: 4 * WATCHED : 4] if len(training) >= 4 * WATCHED else training[:WATCHED]
    real = float(torch.pdist(some.flatten(1).float()).mean())

    def look(generator: Any, progress: TrainingProgress) -> dict[str, float | str]:
        if not real:  # all the same: samples cannot lie closer
            return {}
        samples = generator.sample(WATCHED, condition, torch.Generator().manual_seed(seed)).final.values
        ratio = float(torch.pdist(samples.flatten(1).float().cpu()).mean()) / real
        if not math.isfinite(ratio):
            return {"alarm": "samples are not finite"}
        if ratio >= COLLAPSED:
            return {"ratio": ratio}
        return {"ratio": ratio, "alarm": f"samples lie {ratio:.2g} as far apart as training networks: collapse"}

    return look


def _on(examples: Mapping[str, Tensor] | None, device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in (examples or {}).items()}


def _columns(network: Any, member: Member, part: str) -> dict[str, Tensor]:
    """What is stated of each network of a part for the conditions that the generator is trained with.

    Raises `BadInput` when no row states one of them.
    """
    rows = member.parts[part]
    columns: dict[str, Tensor] = {}
    for name in sorted(network.conditions.names):
        if name in network.conditions.continuous:
            stated = [row.metrics.get(name) for row in rows]
            column = torch.tensor([float("nan") if value is None else float(value) for value in stated])
            known = not bool(column.isnan().all())
        else:
            named = [member.learned[row.run] if name == "dataset" else row.extra.get(name) for row in rows]
            column = network.conditions.columns({name: named})[name]
            known = bool((column >= 0).any())
        if not known:
            raise BadInput(f"no network of the zoo states its {name}", f"train without the condition {name}")
        columns[name] = column
    return columns


def _origin(run: RunFolder, member: Member, trainer: Trainer) -> dict[str, Any]:
    rows, progress = member.parts["train"], trainer.progress
    return {
        "recipe": run.recipe.name,
        "trained on": f"{counted(len(rows), 'network')} of {counted(len({row.run for row in rows}), 'run')}",
        "networks": member.identity,
        **_learned_from(run),
        "epochs": progress.epoch,
        "updates": progress.updates,
        "loss": progress.loss if math.isfinite(progress.loss) else None,
        "validation_loss": trainer.best.loss if math.isfinite(trainer.best.loss) else None,
        "seconds": progress.seconds,
        "command": command_line(),
    }


def _learned_from(run: RunFolder) -> dict[str, Any]:
    """The run's data set, or all those that the generator is told apart."""
    each = [
        {"data set": asdict(one), "data set fingerprint": run.datasets[one.name].fingerprint}
        for one in requests_of(run.recipe)
    ]
    return {"data sets": each} if len(told_datasets(run.recipe)) > 1 else each[0]
