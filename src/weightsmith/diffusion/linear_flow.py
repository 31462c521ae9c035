"""Linear (rectified) flow: the straight line from data to noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightsmith.diffusion.path import Coefficients, Path


@dataclass(frozen=True)
class LinearFlow(Path):
    """`alpha = 1 - t`, `sigma = t`; its velocity is `noise - x0`, from data to noise.

    Liu et al. 2022 (arXiv 2209.03003), equation 1, with time reversed: there 0 is noise.
    """

    def _at(self, times: Tensor) -> Coefficients:
        one = torch.ones_like(times)
        return Coefficients(1 - times, times, -one, one)

    def _stops(self, times: Tensor) -> Tensor:
        return times
