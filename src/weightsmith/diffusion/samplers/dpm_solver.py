"""DPM-Solver++(2M): Lu et al. 2022 (arXiv 2211.01095), algorithm 2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition


@dataclass(frozen=True)
class DPMSolver2M:
    """Second order in `l = log(alpha / sigma)`, with one evaluation a step.

    `x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) d`, where `d` is `x0` extrapolated with that
    of the step before: `d = x0 + (h / 2 h_before)(x0 - x0_before)`, `h = l_s - l_t`. First order where there was no
    step before, and in the step onto t = 0, where `l` is infinite.
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
        now, then, x0 = path.coefficients(t), path.coefficients(next_t), predict(x, t).x0
        data = x0
        if memory is not None:
            ahead, behind = then.half_log_snr - now.half_log_snr, now.half_log_snr - memory.half_log_snr
            weight = torch.where(then.sigma > 0, ahead / (2 * behind), 0)
            data = x0 + per_sample(weight, x) * (x0 - memory.x0)
        shrink = then.sigma / now.sigma
        mean = per_sample(shrink, x) * x + per_sample(then.alpha - now.alpha * shrink, x) * data
        return Transition(mean, None, Multistep(x0, now.half_log_snr))
