"""Training times: where between data and noise a network is taught."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-6  # a time of zero is clean data, of which nothing can be said


@dataclass(frozen=True)
class TrainingTimes:
    """A distribution of times in (0, 1], by its quantile function.

    Uniform, or logit-normal: `logit t = location + scale z` with z standard normal (Esser et al. 2024, section 3.1).
    Many networks of many numbers are told apart in a narrow band of times near noise; uniform times see little of it.
    """

    logit_normal: bool = False
    location: float = 0.0
    scale: float = 1.0

    def at(self, quantiles: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The times below which these shares of all times lie; quantiles are in (0, 1]."""
        if not self.logit_normal:
            return quantiles
        return torch.sigmoid(self.location + self.scale * torch.special.ndtri(quantiles)).clamp(min=SMALLEST, max=1)


UNIFORM = TrainingTimes()
