"""Path: how data becomes noise, `x_t = alpha(t) x_0 + sigma(t) noise`, and where a sampler stops on the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.per_sample import per_sample
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS, load_entry, nearest


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Signal `alpha` and noise `sigma` at a time, and their derivatives by `t`; `[batch]`, finite everywhere.

    They are plain numbers of the path: no gradient flows through them to `t`.
    """

    alpha: Float[Tensor, " *batch"]
    sigma: Float[Tensor, " *batch"]
    alpha_slope: Float[Tensor, " *batch"]
    sigma_slope: Float[Tensor, " *batch"]

    @property
    def half_log_snr(self) -> Float[Tensor, " *batch"]:
        """`log(alpha / sigma)`; infinite where one of them is zero."""
        return self.alpha.log() - self.sigma.log()

    def over(self, x: Float[Tensor, " batch *rest"]) -> Coefficients:
        """The same numbers as `[batch, 1, ...]`, in the dtype and on the device of `x`."""
        values = (self.alpha, self.sigma, self.alpha_slope, self.sigma_slope)
        return Coefficients(*(per_sample(value, x) for value in values))


@dataclass(frozen=True, eq=False)
class PathSample:
    """A point of a path, `state = alpha(t) x0 + sigma(t) noise`, with what it was made from."""

    state: Float[Tensor, " batch *rest"]
    x0: Float[Tensor, " batch *rest"]
    noise: Float[Tensor, " batch *rest"]
    t: Float[Tensor, " batch"]


class Path(ABC):
    """A Gaussian path from data (t = 0) to noise (t = 1), Kingma et al. 2021 (arXiv 2107.00630), equation 1.

    Coefficients are computed in float64 where `t` lies, and cast to the states only when they meet them. Keep `t` on
    the CPU: it is a few numbers, and its range is checked, which on a GPU would wait for the device.
    """

    def coefficients(self, t: Float[Tensor, " batch"]) -> Coefficients:
        """`alpha`, `sigma` and their derivatives at `t [batch]`. Raises `BadInput` for a time outside [0, 1]."""
        times = t.detach().to(torch.float32 if t.device.type == "mps" else torch.float64)  # mps has no float64
        if not bool(((times >= 0) & (times <= 1)).all()):
            wrong = times[~((times >= 0) & (times <= 1))][0]
            raise BadInput(f"time {float(wrong):g} is outside [0, 1]", "0 is data and 1 is noise")
        return self._at(times)

    def sample(
        self, x0: Float[Tensor, " batch *rest"], noise: Float[Tensor, " batch *rest"], t: Float[Tensor, " batch"]
    ) -> PathSample:
        """`alpha(t) x0 + sigma(t) noise` for states of any shape `[batch, ...]` and a time a sample."""
        if x0.shape != noise.shape:
            raise BadInput(f"data {list(x0.shape)} and noise {list(noise.shape)} differ", "draw noise like the data")
        at = self.coefficients(t).over(x0)
        return PathSample(at.alpha * x0 + at.sigma * noise, x0, noise, t)

    def grid(self, steps: int) -> Float[Tensor, " time"]:
        """`steps + 1` falling times from 1 to 0, float64, for `steps` steps. Raises `BadInput` below one step."""
        if steps < 1:
            raise BadInput(f"{steps} steps", "take at least one step")
        return self._stops(torch.arange(steps, -1, -1, dtype=torch.float64) / steps)

    @abstractmethod
    def _at(self, times: Tensor) -> Coefficients: ...

    @abstractmethod
    def _stops(self, times: Tensor) -> Tensor:
        """The times of this path nearest to evenly spaced ones, still all different."""


def make_path(name: str, **options: Any) -> Path:
    """A path by its registered name: `vp-linear` and `vp-cosine` (`timesteps`), or `flow`."""
    if name not in DIFFUSION_PATHS:
        raise BadInput(f"unknown path {name!r}", f"nearest known: {nearest(name, DIFFUSION_PATHS)}")
    return load_entry(DIFFUSION_PATHS[name])(**options)
