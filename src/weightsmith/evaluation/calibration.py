"""Calibration: whether networks asked for an accuracy have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.errors import BadInput


@dataclass(frozen=True)
class Calibration:
    """Wanted and achieved accuracies (fractions), and how they agree.

    `r2 = 1 - sum (achieved - wanted)^2 / sum (wanted - mean wanted)^2`: 1 when every network has the accuracy that was
    asked for, at most 0 when the wish is ignored. It is no squared correlation: a constant error or a wrong slope
    lowers it. The spread below the line is that of what was asked, so a generator cannot raise its score by scattering.
    `slope`: of the least-squares line of achieved on wanted; `bias`: mean achieved minus mean wanted.
    """

    wanted: Float[Tensor, " network"]
    achieved: Float[Tensor, " network"]
    r2: float
    slope: float
    bias: float
    mean_absolute_error: float

    @classmethod
    def of(cls, wanted: Float[Tensor, " wanted"], achieved: Float[Tensor, " achieved"]) -> Calibration:
        """Raises `BadInput` for unequal numbers, values that are not finite, or a single wanted accuracy."""
        _check(wanted, achieved)
        asked, got = wanted.double(), achieved.double()
        error, spread = got - asked, asked - asked.mean()
        total = float(spread.square().sum())
        return cls(
            wanted,
            achieved,
            r2=1 - float(error.square().sum()) / total,
            slope=float((spread * got).sum()) / total,
            bias=float(error.mean()),
            mean_absolute_error=float(error.abs().mean()),
        )


def calibration_r2(wanted: Float[Tensor, " wanted"], achieved: Float[Tensor, " achieved"]) -> float:
    """`r2` of `Calibration` alone."""
    return Calibration.of(wanted, achieved).r2


def _check(wanted: Tensor, achieved: Tensor) -> None:
    if len(wanted) != len(achieved):
        raise BadInput(f"{len(wanted)} wanted accuracies, {len(achieved)} achieved", "give one of each a network")
    if not bool(torch.isfinite(wanted).all() and torch.isfinite(achieved).all()):
        raise BadInput("an accuracy is not finite", "count a network that computes nothing as accuracy 0")
    if not len(wanted) or bool((wanted == wanted[0]).all()):
        raise BadInput(
            f"{len(wanted)} wanted accuracies, all of them equal, show no calibration", "ask for a range of accuracies"
        )
