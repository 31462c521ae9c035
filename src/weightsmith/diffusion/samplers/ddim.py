"""DDIM: Song et al. 2021 (arXiv 2010.02502), equations 12 and 16."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.samplers.posterior import posterior
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition
from weightsmith.errors import BadInput


@dataclass(frozen=True)
class DDIM:
    """`alpha_s x0 + sqrt(sigma_s^2 - std^2) noise + std z` with `std = eta` times that of the DDPM posterior.

    `eta = 0` is deterministic, `eta = 1` is DDPM. Holds on any Gaussian path.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise BadInput(f"eta={self.eta:g} is outside [0, 1]", "0 is deterministic and 1 is DDPM")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def transition(
        self,
        predict: Predict,
        x: Float[Tensor, " batch *rest"],
        t: Float[Tensor, " batch"],
        next_t: Float[Tensor, " batch"],
        path: Path,
        memory: Multistep | None = None,
    ) -> Transition:
        then, pair = path.coefficients(next_t), predict(x, t)
        variance = self.eta**2 * posterior(path.coefficients(t), then).variance
        direction = (then.sigma**2 - variance).clamp(min=0).sqrt()
        mean = per_sample(then.alpha, x) * pair.x0 + per_sample(direction, x) * pair.noise
        return Transition(mean, variance.sqrt() if self.stochastic else None)
