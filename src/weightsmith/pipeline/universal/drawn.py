"""Which architectures a run learns from, and which of each split it is measured on: never the same ones."""

from __future__ import annotations

import math

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import Split, draw, splits_of
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.pipeline.folder import RunFolder


def pool_of(run: RunFolder) -> ArchitecturePool:
    """What is learned from. Raises `BadInput` where the run's images or families leave nothing to draw."""
    universal, data = run.recipe.universal, run.dataset
    splits: tuple[Split, ...] = tuple(universal.splits)
    for split in splits:
        draw(split, 0, data.input_shape, data.classes, universal.families.weights)
    return ArchitecturePool(splits, universal.pool, universal.families.weights, data.input_shape, data.classes)


def measured_splits(run: RunFolder) -> tuple[Split, ...]:
    """The splits that hold anything, given the families that are learned."""
    return splits_of(run.recipe.universal.families.weights)


def measured(run: RunFolder, split: Split, place: int) -> tuple[int, Architecture]:
    """One of the architectures that a split is measured on: its number in the split, and itself.

    Of a split that is learned they begin behind those of the pool.
    """
    universal, data = run.recipe.universal, run.dataset
    learned = math.ceil(universal.pool / len(universal.splits)) if split in universal.splits else 0
    number = learned + place
    return number, draw(split, number, data.input_shape, data.classes, universal.families.weights)
