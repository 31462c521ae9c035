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
    architecture has a generator of its own, and the data set is held fixed.
    """
    population = EXPERIMENTS[recipe.generator.name] == "population"
    fixed = ("dataset",) if population else ("dataset", "architecture", "options")
    mixed = [name for name in fixed if name in recipe.vary.named]
    if mixed:
        raise BadInput(
            f"recipe {recipe.name!r} varies {', '.join(mixed)}, which {recipe.generator.name} generators hold fixed",
            "build its zoo with `weightsmith zoo build`, or give a recipe that does not vary them",
        )
    mistakes = list(_mistakes(recipe)) if population else []
    if mistakes:
        listed = "\n    ".join(mistakes)
        raise BadInput(f"recipe {recipe.name!r} does not fit together:\n    {listed}", "correct what is listed")


def parts_of(runs: int, settings: PopulationSettings, name: str) -> dict[str, int]:
    """How many of the runs of an architecture go into each part; one run alone is learned from.

    Raises `BadInput` where there are too few for the parts that are asked for.
    """
    if runs == 1:
        return {"train": 1}
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


def _of_training(recipe: Recipe) -> Iterator[str]:
    training, validation = recipe.training, recipe.population.validation
    if training.patience and not (training.validate_every and validation):
        yield "training.patience: nothing is validated; set training.validate_every and population.validation, or 0"
    if training.weight_decay and training.optimizer == "adam":
        yield "training.weight_decay: adam has none; set training.optimizer to adamw, or 0"


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
    forms = Counter(_form(recipe, run) for run in range(recipe.zoo.runs))
    for number, (form, runs) in enumerate(forms.items()):
        name = form[0] if len(forms) == 1 else f"{form[0]} {number}"
        try:
            parts = parts_of(runs, recipe.population, name)
        except BadInput as error:
            yield f"zoo.runs: {error.message}; {error.remedy}"
            continue
        if parts["train"] == 1 and recipe.population.checkpoints == "last" and recipe.codec.name in FITTED:
            yield (
                f"codec.name: {recipe.codec.name} is fitted on several networks, and there is one of {name}; use codec "
                f"{' or '.join(PLACED)}, more zoo.runs, or population.checkpoints=all"
            )


def _form(recipe: Recipe, run: int) -> tuple[str, str]:
    drawn = settings_of_run(recipe, run).architecture
    return drawn.name, json.dumps(drawn.options, sort_keys=True)
