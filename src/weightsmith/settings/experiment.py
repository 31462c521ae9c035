"""What an experiment asks of its recipe beyond each value alone, so that it is refused before work and not after."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.settings.recipe import PopulationSettings, Recipe
from weightsmith.settings.registry import EXPERIMENTS, SAMPLERS, nearest
from weightsmith.settings.vary import settings_of_run

PLACED = ("flat", "unit")  # codecs whose numbers are each of one tensor, which can therefore be given
FITTED = ("pca", "span", "autoencoder")  # codecs that no single network can be the measure of
PARTS = ("train", "validation", "held_out")


def require_experiment(recipe: Recipe) -> None:
    """Raise `BadInput` for a recipe that varies what its generators hold fixed, or whose parts do not fit one another.

    Every mistake is named. Along a trajectory architecture and data set are held fixed; over a population every
    architecture has a generator of its own, and the data set is held fixed unless the generator is told it. A universal
    generator learns from no zoo.
    """
    kind = EXPERIMENTS[recipe.generator.name]
    if kind == "universal":
        _refuse_all(recipe, list(_of_universal(recipe)))
        return
    if kind != "population":
        mixed = [name for name in ("dataset", "architecture", "options") if name in recipe.vary.named]
        if mixed:
            raise BadInput(
                f"recipe {recipe.name!r} varies {', '.join(mixed)}, which {recipe.generator.name} generators hold "
                "fixed",
                "build its zoo with `weightsmith zoo build`, or give a recipe that does not vary them",
            )
        return
    _require_told_datasets(recipe)
    _refuse_all(recipe, list(_mistakes(recipe)))


def require_zoo(recipe: Recipe) -> None:
    """Raise `BadInput` for a recipe whose generator learns from no zoo, where one is to be built."""
    if not learns_zoo(recipe):
        raise BadInput(
            f"recipe {recipe.name!r} has no zoo: its generator learns from architectures that are drawn",
            f"train it with `weightsmith run`, or build the zoo of another recipe than {recipe.name}",
        )


def learns_zoo(recipe: Recipe) -> bool:
    """Whether the generator learns from trained networks."""
    return EXPERIMENTS[recipe.generator.name] != "universal"


def _refuse_all(recipe: Recipe, mistakes: list[str]) -> None:
    if mistakes:
        listed = "\n    ".join(mistakes)
        raise BadInput(f"recipe {recipe.name!r} does not fit together:\n    {listed}", "correct what is listed")


def parts_of(runs: int, settings: PopulationSettings, name: str, alone: bool) -> dict[str, int]:
    """How many runs (of an architecture, and of one data set where several are told apart) go into each part.

    `alone`: there is one run, of this and of any other data set; it is learned from.

    Raises `BadInput` where there are too few for the parts that are asked for.
    """
    if alone:
        return {"train": runs}
    counts = {part: round(getattr(settings, part) * runs) for part in PARTS[1:]}
    missing = [part for part in PARTS[1:] if getattr(settings, part) > 0 and counts[part] == 0]
    train = settings.train or runs - sum(counts.values())
    if missing or train < 2 or train + sum(counts.values()) > runs:
        raise BadInput(
            f"{runs} runs of {name} cannot be dealt into {train} to learn from, {settings.validation:g} of them "
            f"for validation and {settings.held_out:g} held out",
            "build more runs (zoo.runs), or set population.validation and population.held_out to 0",
        )
    return {part: count for part, count in {"train": train, **counts}.items() if count}


def _mistakes(recipe: Recipe) -> Iterator[str]:
    options = recipe.generator.options
    yield from _of_generator(options)
    yield from _of_training(recipe)
    yield from _of_evaluation(recipe, options)
    if options["given"] and recipe.codec.name not in PLACED:
        yield (
            f"generator.options.given: each number of {recipe.codec.name} tokens is of many tensors, none of which can "
            f"be given; use codec {' or '.join(PLACED)}"
        )
    if recipe.zoo.folder is None:
        yield from _of_runs(recipe)


def _of_generator(options: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_sampler("generator.options.sampler", options["sampler"], options["path"])
    if options["denoiser"] == "transformer" and options["width"] % options["heads"]:
        yield f"generator.options.heads: {options['heads']} does not divide the width {options['width']}"
    if options["memory"] and options["denoiser"] != "mlp":
        yield f"generator.options.memory: only the denoiser mlp has one, not {options['denoiser']}; use 0"


def _of_sampler(place: str, name: str, path: str) -> Iterator[str]:
    if name not in SAMPLERS:
        near = nearest(name, SAMPLERS)
        hint = f"the nearest is {near!r}; " if near else ""
        yield f"{place}: no sampler is called {name!r}; {hint}known: {', '.join(SAMPLERS)}"
    elif name == "flow-sde" and path != "flow":
        yield f"{place}: flow-sde is of the path flow, not of {path}; use ddpm"


def _of_universal(recipe: Recipe) -> Iterator[str]:
    training, options, universal = recipe.training, recipe.generator.options, recipe.universal
    if options["dim"] % options["heads"]:
        yield f"generator.options.heads: {options['heads']} does not divide the dim {options['dim']}"
    if len(training.budgets) != 1 or not all(training.budgets.values()):
        listed = ", ".join(f"{name}: {epochs}" for name, epochs in training.budgets.items())
        yield f"training.budgets: one length of training is wanted, not {{{listed}}}; give one, as {{trained: 100}}"
    if not training.updates:
        yield "training.updates: an epoch is so many updates here; give a number above 0, as 100"
    if training.validate_every or training.patience:
        name = "validate_every" if training.validate_every else "patience"
        yield f"training.{name}: nothing is selected by validation; set 0, and watch it by universal.monitored"
    if training.weight_decay and training.optimizer != "adamw":
        yield f"training.weight_decay: {training.optimizer} has none; set training.optimizer to adamw, or 0"
    if universal.workers > universal.architectures:
        yield (
            f"universal.workers: {universal.workers} share {universal.architectures} architectures; "
            "give more universal.architectures, or fewer workers"
        )
    for name in recipe.vary.named:
        yield f"vary.{name}: there are no runs to vary; leave it out"
    if recipe.zoo.folder is not None:
        yield "zoo.folder: it learns from no zoo; set null"


def _of_training(recipe: Recipe) -> Iterator[str]:
    training, validation = recipe.training, recipe.population.validation
    if training.patience and not (training.validate_every and validation):
        yield "training.patience: nothing is validated; set training.validate_every and population.validation, or 0"
    if training.weight_decay and training.optimizer != "adamw":
        yield f"training.weight_decay: {training.optimizer} has none; set training.optimizer to adamw, or 0"


def _of_evaluation(recipe: Recipe, options: Mapping[str, Any]) -> Iterator[str]:
    wanted = recipe.evaluation
    for name in wanted.samplers:
        yield from _of_sampler(f"evaluation.samplers.{name}", name, options["path"])
    if wanted.wanted and "accuracy" not in options["conditions"]:
        yield "evaluation.wanted: the generator learns no accuracy; add it to generator.options.conditions, or set 0"
    least, most = wanted.wanted_from, wanted.wanted_to
    if least is not None and most is not None and least >= most:
        yield f"evaluation.wanted_from: {least:g} is not below evaluation.wanted_to, {most:g}"
    if wanted.given and not options["given"]:
        yield "evaluation.given: the generator learns to fill in nothing; set generator.options.given, or 0"


def _of_runs(recipe: Recipe) -> Iterator[str]:
    forms: dict[tuple[str, str], Counter[str]] = {}
    apart = len(told_datasets(recipe)) > 1
    for run in range(recipe.zoo.runs):
        drawn = settings_of_run(recipe, run)
        form = (drawn.architecture.name, json.dumps(drawn.architecture.options, sort_keys=True))
        forms.setdefault(form, Counter())[f" on {drawn.dataset.name}" if apart else ""] += 1
    for number, (form, counts) in enumerate(forms.items()):
        name = form[0] if len(forms) == 1 else f"{form[0]} {number}"
        learned = 0
        for data, runs in counts.items():
            try:
                parts = parts_of(runs, recipe.population, f"{name}{data}", all(count == 1 for count in counts.values()))
            except BadInput as error:
                yield f"zoo.runs: {error.message}; {error.remedy}"
                break
            learned += parts["train"]
        if learned == 1 and recipe.population.checkpoints == "last" and recipe.codec.name in FITTED:
            yield (
                f"codec.name: {recipe.codec.name} is fitted on several networks, and there is one of {name}; use codec "
                f"{' or '.join(PLACED)}, more zoo.runs, or population.checkpoints=all"
            )


def told_datasets(recipe: Recipe) -> list[str]:
    """The data sets that the generator is told apart, by the names that the recipe gives them; none where it is not."""
    return list(recipe.generator.options.get("datasets", ()))


def _require_told_datasets(recipe: Recipe) -> None:
    """Raise `BadInput` unless the generator over a population is told every data set that the zoo varies, and no other.

    What a zoo that exists holds is seen when it is read.
    """
    told, varied = told_datasets(recipe), [one.name for one in recipe.vary.dataset or [recipe.dataset]]
    listed = ", ".join(dict.fromkeys(varied))
    if not told:
        if "dataset" in recipe.vary.named:
            raise BadInput(
                f"recipe {recipe.name!r} varies dataset, and its generator is not told which one a network learned",
                f"name them, generator.options.datasets=[{listed}], or do not vary them",
            )
        return
    repeated = sorted({name for name in told if told.count(name) > 1 or varied.count(name) > 1})
    unnamed, unknown = [name for name in varied if name not in told], [name for name in told if name not in varied]
    if repeated:
        raise BadInput(f"recipe {recipe.name!r} names data set {repeated[0]!r} twice", "name each data set once")
    if unnamed:
        raise BadInput(
            f"recipe {recipe.name!r} learns data set {unnamed[0]!r}, which generator.options.datasets does not name",
            f"name them all, generator.options.datasets=[{listed}]",
        )
    if not unknown and recipe.zoo.folder is None and len(told) > 1:
        unknown = _never_drawn(recipe, told)
    if unknown:
        raise BadInput(
            f"no run of recipe {recipe.name!r} learns data set {unknown[0]!r}, which generator.options.datasets names",
            "leave it out there, or draw it too: name it in vary.dataset, and ask for enough runs (zoo.runs)",
        )


def _never_drawn(recipe: Recipe, names: list[str]) -> list[str]:
    """The data sets that no run of the recipe's zoo learns."""
    left = list(names)
    for run in range(recipe.zoo.runs):
        drawn = settings_of_run(recipe, run).dataset.name
        left = [name for name in left if name != drawn]
        if not left:
            break
    return left
