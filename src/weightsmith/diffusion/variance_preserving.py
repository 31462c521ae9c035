"""Variance-preserving path: `alpha^2 + sigma^2 = 1`, given by the betas of N time steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.beta_schedules import cosine_betas, linear_betas
from weightsmith.diffusion.path import Coefficients, Path
from weightsmith.errors import BadInput

_FLOAT32_ROUNDING = 2.0**-23


@dataclass(frozen=True, eq=False)
class VariancePreserving(Path):
    """`alpha(t)^2 = prod_{j <= i} (1 - beta_j)` at `t = (i + 1) / N`, `i` the index of a usual discrete table.

    Ho et al. 2020 (arXiv 2006.11239), equation 4. Between two entries `log(alpha / sigma)` is linear in `t`; between
    t = 0, which is clean (`alpha = 1`, `sigma = 0`), and the first entry `sigma` is linear in `t`, which keeps the
    derivatives finite. At an entry they are those of the interval that ends there. A time that is an entry's up to the
    rounding of float32 is that entry's.
    """

    betas: Float[Tensor, " timesteps"]

    def __post_init__(self) -> None:
        if self.betas.ndim != 1 or not len(self.betas) or not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise BadInput(
                f"betas {list(self.betas.shape)} are not all between 0 and 1", "give a vector of noise levels"
            )

    @classmethod
    def linear(cls, timesteps: int = 1000, beta_range: tuple[float, float] | None = None) -> VariancePreserving:
        """See `linear_betas`."""
        return cls(linear_betas(timesteps, beta_range))

    @classmethod
    def cosine(cls, timesteps: int = 1000) -> VariancePreserving:
        """See `cosine_betas`."""
        return cls(cosine_betas(timesteps))

    @property
    def timesteps(self) -> int:
        return len(self.betas)

    @cached_property
    def _log_signal(self) -> Tensor:
        return torch.log1p(-self.betas.detach().cpu().double()).cumsum(0)

    @cached_property
    def _half_log_snr(self) -> Tensor:
        return (self._log_signal - (-torch.expm1(self._log_signal)).log()) / 2

    def _at(self, times: Tensor) -> Coefficients:
        position = times * self.timesteps
        entry = position.round()
        position = torch.where((position - entry).abs() <= _FLOAT32_ROUNDING * entry, entry, position)
        interval = (position.ceil().long() - 1).clamp(min=0)
        later, first = self._later(position, interval), self._first(position)
        pairs = zip(later, first, strict=True)
        return Coefficients(*(torch.where(interval > 0, value, start) for value, start in pairs))

    def _later(self, position: Tensor, interval: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Between two entries, by interpolation of `l = log(alpha / sigma)`: `alpha^2 = sigmoid(2 l)`."""
        table = self._half_log_snr.to(position)
        before = table[(interval - 1).clamp(min=0)]
        rise = table[interval] - before
        level, slope = before + (position - interval) * rise, rise * self.timesteps
        alpha, sigma = torch.sigmoid(2 * level).sqrt(), torch.sigmoid(-2 * level).sqrt()
        return alpha, sigma, alpha * sigma**2 * slope, -sigma * alpha**2 * slope

    def _first(self, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From clean data to the first entry, where the log of the ratio comes from infinity: `sigma` is linear."""
        step = self.betas[0].detach().to(position).sqrt()
        sigma = position.clamp(max=1) * step
        alpha, slope = (1 - sigma**2).sqrt(), torch.full_like(sigma, self.timesteps) * step
        return alpha, sigma, -sigma * slope / alpha, slope

    def _stops(self, times: Tensor) -> Tensor:
        # A network trained at the entries only is asked at no other times, as long as there are enough of them.
        if len(times) - 1 > self.timesteps:
            return times
        return (times * self.timesteps).round() / self.timesteps
