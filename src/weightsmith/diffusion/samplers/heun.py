"""Heun: the trapezoid along the probability-flow equation, Karras et al. 2022 (arXiv 2206.00364), algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.predictions import Denoised
from weightsmith.diffusion.samplers.euler import advance
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep, Transition


@dataclass(frozen=True)
class Heun:
    """Second order: an Euler step, then again with the mean of the predictions at its two ends. Two evaluations a step.

    The step onto t = 0 is an Euler step, as in the source: a network is never asked at t = 0.
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
        first = predict(x, t)
        guess = advance(x, first, t, next_t, path)
        ends = path.coefficients(next_t).sigma == 0
        if bool(ends.all()):
            return Transition(guess)
        # A batch may hold samples that end here beside samples that do not; the former keep their first prediction.
        second = predict(guess, torch.where(ends, t, next_t))
        weight = per_sample(torch.where(ends, 0.0, 0.5), x)
        mixed = Denoised(torch.lerp(first.x0, second.x0, weight), torch.lerp(first.noise, second.noise, weight))
        return Transition(advance(x, mixed, t, next_t, path))
