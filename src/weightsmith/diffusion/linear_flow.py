"""Linear (rectified) flow: the straight line from data to noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightsmith.diffusion.path import Coefficients, Path
from weightsmith.errors import BadInput


@dataclass(frozen=True)
class LinearFlow(Path):
    """`alpha = 1 - t`, `sigma = t`; its velocity is `noise - x0`, from data to noise.

    Liu et al. 2022 (arXiv 2209.03003), equation 1, with time reversed: there 0 is noise. Samplers stop at
    `shift u / (1 + (shift - 1) u)` for evenly spaced u: above 1 there are more stops near noise, which is where many
    numbers that belong together are decided (Esser et al. 2024, section 5.3.2). Raises `BadInput` for a shift that is
    not positive.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        if not self.shift > 0:
            raise BadInput(f"shift={self.shift:g} of the flow path", "use a positive number; 1 is evenly spaced stops")

    def _at(self, times: Tensor) -> Coefficients:
        one = torch.ones_like(times)
        return Coefficients(1 - times, times, -one, one)

    def _stops(self, times: Tensor) -> Tensor:
        return self.shift * times / (1 + (self.shift - 1) * times)
