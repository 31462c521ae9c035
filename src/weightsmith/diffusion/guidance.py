"""Classifier-free guidance: push a prediction away from the unconditional one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.per_sample import per_sample

Denoiser = Callable[[Tensor, Tensor], Tensor]


def combine_guidance(
    unconditional: Float[Tensor, " batch *rest"],
    conditional: Float[Tensor, " batch *rest"],
    scale: float | Float[Tensor, " batch"],
) -> Float[Tensor, " batch *rest"]:
    """`unconditional + w (conditional - unconditional)`: w = 1 is conditional and 0 unconditional, both bitwise.

    Ho and Salimans 2022 (arXiv 2207.12598), equation 6, whose w is this one minus 1. Any kind of prediction will do:
    the conversions between them are affine, so combining outputs is combining the denoised data.
    """
    if isinstance(scale, Tensor):
        return torch.lerp(unconditional, conditional, per_sample(scale, conditional))
    return torch.lerp(unconditional, conditional, float(scale))


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """A denoiser made of two; a network whose output has no part in the result is not evaluated."""

    conditional: Denoiser
    unconditional: Denoiser
    scale: float | Float[Tensor, " batch"]

    def __call__(self, x: Float[Tensor, " batch *rest"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch *rest"]:
        if not isinstance(self.scale, Tensor) and self.scale in (0, 1):
            return self.conditional(x, t) if self.scale == 1 else self.unconditional(x, t)
        return combine_guidance(self.unconditional(x, t), self.conditional(x, t), self.scale)
