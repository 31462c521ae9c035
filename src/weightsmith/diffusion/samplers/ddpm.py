"""DDPM: ancestral sampling, Ho et al. 2020 (arXiv 2006.11239), algorithm 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.samplers.posterior import posterior
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition
from weightsmith.errors import BadInput


@dataclass(frozen=True)
class DDPM:
    """Draws from the posterior `q(x_s | x_t, x0)` at the predicted `x0`, on any Gaussian path and over any step.

    `variance`: `small` is the posterior's own, `large` that of the forward step, `beta_t` (section 3.2). The step onto
    t = 0 adds no noise.
    """

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise BadInput(f"variance {self.variance!r}", "give 'small' or 'large'")

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
        then = path.coefficients(next_t)
        before = posterior(path.coefficients(t), then)
        mean = per_sample(before.from_state, x) * x + per_sample(before.from_data, x) * predict(x, t).x0
        variance = before.variance if self.variance == "small" else torch.where(then.sigma > 0, before.added, 0)
        return Transition(mean, variance.sqrt())
