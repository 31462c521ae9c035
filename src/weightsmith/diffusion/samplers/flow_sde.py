"""Flow SDE: the stochastic form of the flow sampler, Flow-GRPO, Liu et al. 2025 (arXiv 2505.05470), section 4."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.linear_flow import LinearFlow
from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.samplers.euler import advance
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition
from weightsmith.errors import BadInput


@dataclass(frozen=True)
class FlowSDE:
    """Euler-Maruyama on `dx = (u + g^2 / (2 t) (x + (1 - t) u)) dt + g dw`, where `g = a sqrt(t / (1 - t))`.

    `u` is the velocity and `a` the `noise_level`. It has the marginals of the flow, and the density that policy
    gradients need: `x_s` is normal with mean `x + (u + g^2 / (2 t) noise)(s - t)`, as `x + (1 - t) u` is the predicted
    noise, and standard deviation `g sqrt(t - s)`. Two ends the formula leaves open: at t = 1, where `g` is infinite,
    `1 - s` stands for `1 - t`; the step onto t = 0 is the Euler step and adds no noise, which would stay in the result.
    """

    noise_level: float = 0.7

    def __post_init__(self) -> None:
        if not self.noise_level > 0:
            raise BadInput(f"noise_level={self.noise_level:g}", "give a positive one, or take euler")

    @property
    def stochastic(self) -> bool:
        return True

    def transition(
        self,
        predict: Predict,
        x: Float[Tensor, " batch *rest"],
        t: Float[Tensor, " batch"],
        next_t: Float[Tensor, " batch"],
        path: Path,
        memory: Multistep | None = None,
    ) -> Transition:
        if not isinstance(path, LinearFlow):
            raise BadInput(
                "flow-sde is made for the linear flow path", "on another path use ddpm, or ddim with eta > 0"
            )
        now, then, pair = path.coefficients(t), path.coefficients(next_t), predict(x, t)
        signal = torch.where(now.alpha > 0, now.alpha, then.alpha)
        squared = torch.where(then.sigma > 0, self.noise_level**2 * now.sigma / signal, 0)
        span = now.sigma - then.sigma
        drift = per_sample(-squared * span / (2 * now.sigma), x)
        return Transition(advance(x, pair, t, next_t, path) + drift * pair.noise, (squared * span).sqrt())
