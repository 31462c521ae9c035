"""Beta schedules: how much noise each of N time steps adds, `x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) noise`."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.errors import BadInput

REFERENCE_TIMESTEPS = 1000
REFERENCE_RANGE = (1e-4, 0.02)
LARGEST_BETA = 0.999


def linear_betas(timesteps: int, beta_range: tuple[float, float] | None = None) -> Float[Tensor, " timesteps"]:
    """Evenly spaced betas, float64.

    With no `beta_range`, the schedule of Ho et al. 2020 (arXiv 2006.11239, section 4: 1e-4 to 0.02 in 1000 steps)
    read at any number of time steps: `prod(1 - beta)` is the same function of `t` for every N, so that t = 1 is noise
    also with 50. With one, `linspace` over the range whatever N is, as diffusers does.
    """
    _require_one(timesteps)
    if beta_range is not None:
        return torch.linspace(*beta_range, timesteps, dtype=torch.float64)
    reference = torch.linspace(*REFERENCE_RANGE, REFERENCE_TIMESTEPS, dtype=torch.float64)
    log_signal = torch.cat([reference.new_zeros(1), torch.log1p(-reference).cumsum(0)])
    position = torch.arange(timesteps + 1, dtype=torch.float64) * REFERENCE_TIMESTEPS / timesteps
    before = position.floor().long().clamp(max=REFERENCE_TIMESTEPS - 1)
    read = torch.lerp(log_signal[before], log_signal[before + 1], position - before)
    return -torch.expm1(read.diff())


def cosine_betas(timesteps: int) -> Float[Tensor, " timesteps"]:
    """`1 - f((i + 1) / N) / f(i / N)` with `f(t) = cos^2((t + 0.008) / 1.008 * pi / 2)`, at most 0.999, float64.

    Nichol and Dhariwal 2021 (arXiv 2102.09672), equation 17.
    """
    _require_one(timesteps)
    times = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    signal = torch.cos((times + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - signal[1:] / signal[:-1]).clamp(max=LARGEST_BETA)


def _require_one(timesteps: int) -> None:
    if timesteps < 1:
        raise BadInput(f"timesteps={timesteps}", "give at least one time step; 1000 is usual")
