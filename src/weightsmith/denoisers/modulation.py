"""Adaptive layer normalisation, zero-initialised: how a vector of time and conditions steers a block."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Modulation(nn.Module):
    """`count` vectors of the block's width from the vector c of a sample: `W silu(c) + b`, with W and b zero at first.

    (Peebles and Xie 2023, section 3.2, adaLN-Zero.) The result is `count` tensors `[batch, width]`.
    """

    def __init__(self, condition: int, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = zeroed(nn.Linear(condition, count * width))

    def forward(self, c: Float[Tensor, "batch width"]) -> tuple[Float[Tensor, "batch block"], ...]:
        return self.linear(nn.functional.silu(c)).chunk(self.count, dim=1)


class Skip(nn.Module):
    """`y + s(c) x` with one learned scalar a sample, zero at first.

    Noise and velocity are nearly as wide as x itself: a network narrower than x could not pass them on.
    """

    def __init__(self, condition: int) -> None:
        super().__init__()
        self.scale = Modulation(condition, 1, 1)

    def forward(
        self, y: Float[Tensor, "batch token dim"], x: Float[Tensor, "batch token dim"], c: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch token dim"]:
        (scale,) = self.scale(c)
        return y.to(x.dtype) + scale.to(x.dtype)[:, :, None] * x


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """`x (1 + scale) + shift` (the same, section 3.2)."""
    return x * (1 + scale) + shift


def plain_norm(width: int) -> nn.LayerNorm:
    """Layer normalisation without its own gain and shift, which the modulation gives."""
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and bias set to zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
