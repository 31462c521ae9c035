"""A monitor: how good networks for architectures that are not learned are on validation images, while training."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from weightsmith.architectures.families import Split
from weightsmith.hypernetworks.pool import Prepared
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.universal.drawn import measured, measured_splits
from weightsmith.seeds import derive_seed
from weightsmith.training import Monitor, TrainingProgress

IMAGES = 500  # as one batch: norms over batches use the statistics of these images


def monitors_of(run: RunFolder) -> dict[str, Monitor]:
    """Median accuracy of `universal.monitored` architectures of each split; the same ones, with the same noise."""
    count = run.recipe.universal.monitored
    if not count:
        return {}
    validation = run.dataset.validation.head(IMAGES)

    @cache
    def prepared(split: Split, place: int) -> Prepared:
        return Prepared.of(measured(run, split, place)[1])

    def accuracy(generator: Any, split: Split, place: int) -> float:
        device, one = generator.network.device, prepared(split, place)
        seed = derive_seed(run.recipe.seed, "universal", "monitor", split, place)
        weights = generator.weights(one.blueprint, torch.Generator().manual_seed(seed))
        found = one(weights, validation.images.to(device)).argmax(1)
        return float((found == validation.labels.to(device)).float().mean())

    def look(generator: Any, progress: TrainingProgress) -> Mapping[str, float | str]:
        return {
            split: statistics.median(accuracy(generator, split, place) for place in range(count))
            for split in measured_splits(run)
        }

    return {"validation": look}
