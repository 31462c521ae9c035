"""Novelty: which networks are neither copies of training networks nor worse than them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.errors import BadInput

NOVEL_QUANTILE = 0.05
PERFORMANT_MARGIN = 0.005
SWEPT_QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
SWEPT_MARGINS = (0.0, 0.0025, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Examined:
    """What is known of each network of a set: how close it lies to the training networks, and how accurate it is.

    `distance`: to the nearest training network; `overlap`: the largest overlap of errors with a training network;
    `accuracy`: a fraction. NaN where a network is not finite: it is then neither novel nor performant.
    """

    distance: Float[Tensor, " network"]
    overlap: Float[Tensor, " overlap"]
    accuracy: Float[Tensor, " accuracy"]

    def __post_init__(self) -> None:
        if not len(self.distance) == len(self.overlap) == len(self.accuracy) > 0:
            raise BadInput(
                f"{len(self.distance)} distances, {len(self.overlap)} overlaps, {len(self.accuracy)} accuracies",
                "give one of each for every network, and at least one network",
            )

    def __len__(self) -> int:
        return len(self.distance)

    @property
    def sound(self) -> Bool[Tensor, " network"]:
        return torch.isfinite(self.distance)


@dataclass(frozen=True)
class NovelRule:
    """Novel: `distance >= least_distance` and `overlap <= most_overlap`."""

    least_distance: float
    most_overlap: float

    @classmethod
    def of(cls, held_out: Examined, quantile: float = NOVEL_QUANTILE) -> NovelRule:
        """At least as far as that quantile of real networks that were held out, and errors no more alike than theirs.

        `least_distance = Q_q(distance)`, `most_overlap = Q_{1-q}(overlap)`; quantiles interpolate linearly. Raises
        `BadInput` when a held-out network is not finite.
        """
        distance = _quantile(held_out.distance, quantile, "held-out distances")
        return cls(distance, _quantile(held_out.overlap, 1 - quantile, "held-out overlaps"))

    def holds(self, networks: Examined) -> Bool[Tensor, " network"]:
        far = networks.distance.double() >= self.least_distance
        return far & (networks.overlap.double() <= self.most_overlap)


@dataclass(frozen=True)
class PerformantRule:
    """Performant: `accuracy >= least_accuracy`."""

    least_accuracy: float

    @classmethod
    def of(cls, zoo_accuracy: Float[Tensor, " network"], margin: float = PERFORMANT_MARGIN) -> PerformantRule:
        """The median accuracy of the zoo minus `margin`, both fractions."""
        return cls(_quantile(zoo_accuracy, 0.5, "accuracies of the zoo") - margin)

    def holds(self, networks: Examined) -> Bool[Tensor, " network"]:
        return networks.accuracy.double() >= self.least_accuracy


@dataclass(frozen=True)
class Shares:
    """Shares of a set of networks, all of them counted, that are novel, performant, and both at once."""

    novel: float
    performant: float
    both: float
    networks: int

    @classmethod
    def of(cls, networks: Examined, novel: NovelRule, performant: PerformantRule) -> Shares:
        new, good = novel.holds(networks), performant.holds(networks)
        novel_share, good_share, both = (float(held.double().mean()) for held in (new, good, new & good))
        return cls(novel_share, good_share, both, len(networks))


@dataclass(frozen=True)
class SweepRow:
    """The shares at one pair of thresholds, of samples and of held-out networks."""

    quantile: float
    margin: float
    samples: Shares
    held_out: Shares


def threshold_sweep(
    samples: Examined,
    held_out: Examined,
    zoo_accuracy: Float[Tensor, " training"],
    quantiles: Sequence[float] = SWEPT_QUANTILES,
    margins: Sequence[float] = SWEPT_MARGINS,
) -> list[SweepRow]:
    """The shares at every quantile of `NovelRule` and margin of `PerformantRule`: no conclusion hangs on one choice."""
    rows = []
    for quantile in quantiles:
        novel = NovelRule.of(held_out, quantile)
        for margin in margins:
            good = PerformantRule.of(zoo_accuracy, margin)
            shares = [Shares.of(networks, novel, good) for networks in (samples, held_out)]
            rows.append(SweepRow(quantile, margin, *shares))
    return rows


def nearest_ratio(
    sample_distance: Float[Tensor, " sample"], held_out_distance: Float[Tensor, " held_out"]
) -> float | None:
    """The median nearest-training distance of samples over that of held-out real networks.

    0: copies of training networks; 1: as new as an independent training run. `None` when the held-out networks are
    copies themselves. Raises `BadInput` when a distance is not finite: leave such samples out, and say so.
    """
    top = _quantile(sample_distance, 0.5, "distances of samples")
    bottom = _quantile(held_out_distance, 0.5, "held-out distances")
    return top / bottom if bottom else None


@dataclass(frozen=True)
class Novelty:
    """The audit of a set of samples beside held-out real networks and the training networks themselves.

    Medians of nearest-training distances and of largest error overlaps (training networks: to the others of their
    set); samples that are not finite are left out of the medians and `nearest_ratio`, their number is `unsound`, and
    in the shares they are neither novel nor performant.
    """

    nearest_ratio: float | None
    median_distance: dict[str, float | None]
    median_overlap: dict[str, float | None]
    unsound: int
    novel: NovelRule
    performant: PerformantRule
    samples: Shares
    held_out: Shares
    sweep: list[SweepRow]

    @classmethod
    def of(cls, samples: Examined, held_out: Examined, training: Examined) -> Novelty:
        """`training`: distance and overlap leaving each one out; its accuracies are the zoo's."""
        sets = {"samples": samples, "held_out": held_out, "training": training}
        distances = {name: networks.distance[networks.sound] for name, networks in sets.items()}
        overlaps = {name: networks.overlap[networks.sound] for name, networks in sets.items()}
        novel, performant = NovelRule.of(held_out), PerformantRule.of(training.accuracy)
        any_sound = len(distances["samples"]) > 0
        return cls(
            nearest_ratio(distances["samples"], distances["held_out"]) if any_sound else None,
            {name: _median(values) for name, values in distances.items()},
            {name: _median(values) for name, values in overlaps.items()},
            int((~samples.sound).sum()),
            novel,
            performant,
            Shares.of(samples, novel, performant),
            Shares.of(held_out, novel, performant),
            threshold_sweep(samples, held_out, training.accuracy),
        )


def _median(values: Tensor) -> float | None:
    return float(values.double().quantile(0.5)) if len(values) else None


def _quantile(values: Tensor, quantile: float, what: str) -> float:
    if not len(values) or not bool(torch.isfinite(values).all()):
        raise BadInput(
            f"{what}: {len(values)} networks, {int((~torch.isfinite(values)).sum())} of them not finite",
            "give at least one network, and leave out those that are not finite",
        )
    if not 0 <= quantile <= 1:
        raise BadInput(f"{what}: quantile {quantile} is not within 0 and 1", "give a fraction")
    return float(values.double().quantile(quantile))
