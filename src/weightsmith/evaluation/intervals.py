"""Confidence intervals by the bootstrap: networks are drawn again with replacement, never images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightsmith.errors import BadInput

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A statistic and its percentile interval: `level` of the resampled statistics lie between `low` and `high`."""

    value: float
    low: float
    high: float
    level: float
    networks: int


def mean_interval(
    values: Shaped[Tensor, " network"], rng: torch.Generator, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """The mean over networks; of a boolean tensor, a share."""
    return _interval([values], lambda drawn: drawn.mean(dim=1), rng, level, resamples)


def quantile_interval(
    values: Shaped[Tensor, " network"],
    quantile: float,
    rng: torch.Generator,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """A quantile over networks, interpolated linearly. Raises `BadInput` for one outside 0 to 1."""
    if not 0 <= quantile <= 1:
        raise BadInput(f"quantile {quantile} is not within 0 and 1", "give a fraction")
    return _interval([values], lambda drawn: drawn.quantile(quantile, dim=1), rng, level, resamples)


def median_interval(
    values: Shaped[Tensor, " network"], rng: torch.Generator, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """The median over networks."""
    return quantile_interval(values, 0.5, rng, level, resamples)


def median_ratio_interval(
    top: Shaped[Tensor, " network"],
    bottom: Shaped[Tensor, " other"],
    rng: torch.Generator,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """`median(top) / median(bottom)`, as in `nearest_ratio`; the two sets are drawn again independently.

    Raises `BadInput` when the median of `bottom` is zero.
    """
    if len(bottom) and not float(bottom.double().quantile(0.5)):
        raise BadInput("the median below the line is zero", "give a set whose median is not")

    def ratio(drawn: Tensor, other: Tensor) -> Tensor:
        below = other.quantile(0.5, dim=1)
        return torch.where(below == 0, torch.inf, drawn.quantile(0.5, dim=1) / below)

    return _interval([top, bottom], ratio, rng, level, resamples)


def _interval(
    sets: list[Tensor], statistic: Callable[..., Tensor], rng: torch.Generator, level: float, resamples: int
) -> Interval:
    """Percentile bootstrap (Efron and Tibshirani 1993, chapter 13); `networks` counts the smallest set."""
    if not 0 < level < 1 or resamples < 1:
        raise BadInput(
            f"level {level}, {resamples} resamples", "give a level between 0 and 1, and at least one resample"
        )
    if any(not len(values) or not bool(torch.isfinite(values).all()) for values in sets):
        raise BadInput("a set of networks is empty or holds values that are not finite", "leave out such networks")
    values = [one.double() for one in sets]
    found = statistic(*[_drawn_again(one, resamples, rng) for one in values])
    low, high = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    value = float(statistic(*[one[None] for one in values]))
    return Interval(value, low, high, level, min(len(one) for one in values))


def _drawn_again(
    values: Float[Tensor, " network"], resamples: int, rng: torch.Generator
) -> Float[Tensor, "resample network"]:
    return values[torch.randint(len(values), (resamples, len(values)), generator=rng)]
