"""Population runs of a second on a zoo that is built once, and trainings to be stopped between two updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.pipeline.population import train
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe

TEXT = """\
name: population
description: A population of a second.
device: cpu
dataset: {name: digits, image_size: 4}
architecture: {name: mlp, options: {hidden: [4]}}
zoo: {runs: 10, epochs: 3, precision: fp32, method: stacked, group_size: 10, workers: 1, threads: 1}
population: {validation: 0.2, held_out: 0.2}
codec: {name: unit, options: {width: 20, canonical: true}}
generator:
  name: diffusion
  options: {width: 16, blocks: 1, condition_width: 8, conditions: [accuracy], given: true, steps: 2}
training:
  budgets: {none: 0, some: 4}
  headline: some
  batch_size: 4
  updates: 3
  validate_every: 1
  average: 0.9
evaluation: {samples: 4, precision: fp32}
"""
PLAIN = ["generator.options.given=false"]  # of codecs whose numbers are of many tensors
CODECS = {
    "unit, canonical": [],
    "unit by position": ["codec={name: unit, options: {width: 7, standardise: position}}"],
    "flat, weights only": ["codec={name: flat, options: {canonical: true, roles: [weight]}}"],
    "pca": ["codec={name: pca, options: {components: 3}}", *PLAIN],
    "span": ["codec=span", *PLAIN],
    "autoencoder": ["codec={name: autoencoder, options: {width: 20, latent: 3, epochs: 2, hidden: [8]}}", *PLAIN],
}


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(TEXT, "population", overrides)


def make_zoo(folder: Path) -> str:
    """Build the zoo of `TEXT`; the override by which a run learns from it."""
    return f"zoo.folder={run_pipeline(recipe(), folder, until='zoo').zoo}"


def trained(folder: Path, *overrides: str) -> RunFolder:
    return run_pipeline(recipe(*overrides), folder, until="train")


class Stop(KeyboardInterrupt):
    """As Ctrl-C in somebody's own program."""


def stop_after(updates: int) -> Callable[[], None]:
    """What raises `Stop` when it is called once more than so often."""
    calls = iter(range(updates))

    def check() -> None:
        if next(calls, None) is None:
            raise Stop

    return check


def interrupted(folder: Path, updates: int, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> bool:
    """Train until `updates` more were made; whether there was more to do, and the state was saved."""
    with monkeypatch.context() as patch:
        patch.setattr(train, "check_interrupted", stop_after(updates))
        try:
            trained(folder, *overrides)
        except Stop:
            return True
    return False


def state_of(run: Path) -> Path:
    """Where the state of its only generator's training lies."""
    return run / "synthesizer" / "pipeline-0" / "_unfinished.safetensors"


def files(folder: Path) -> dict[str, bytes]:
    """Every file but for locks, which are empty."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
