"""Euler: one straight step along the probability-flow equation."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.predictions import Denoised
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition


@dataclass(frozen=True)
class Euler:
    """First order on `dx = x0 d(alpha) + noise d(sigma)`.

    `x_s = x_t + (alpha_s - alpha_t) x0 + (sigma_s - sigma_t) noise`; on linear flow that is `x_t + (s - t) velocity`.
    Stepping in the coefficients rather than in `t` needs no derivative, so a table of betas may have kinks and the ends
    stay finite; on a variance-preserving path it is DDIM.
    """

    @property
    def stochastic(self) -> bool:
        return False

    def transition(
        self,
        predict: Predict,
        x: Float[Tensor, " batch *rest"],
        t: Float[Tensor, " batch"],
        next_t: Float[Tensor, " batch"],
        path: Path,
        memory: Multistep | None = None,
    ) -> Transition:
        return Transition(advance(x, predict(x, t), t, next_t, path))


def advance(
    x: Float[Tensor, " batch *rest"],
    pair: Denoised,
    t: Float[Tensor, " batch"],
    next_t: Float[Tensor, " batch"],
    path: Path,
) -> Float[Tensor, " batch *rest"]:
    """`x + (alpha_s - alpha_t) x0 + (sigma_s - sigma_t) noise`."""
    now, then = path.coefficients(t), path.coefficients(next_t)
    data, noise = per_sample(then.alpha - now.alpha, x), per_sample(then.sigma - now.sigma, x)
    return x + data * pair.x0 + noise * pair.noise
