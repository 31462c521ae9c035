"""Embeddings of times and other numbers: sines and cosines, then a small perceptron."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput

TIME_SCALE = 1000.0  # times in [0, 1] are read as the field's 1,000 steps
MAX_PERIOD = 10_000.0


def sinusoidal(t: Float[Tensor, " batch"], features: int) -> Float[Tensor, "batch features"]:
    """Sines and cosines of times t in [0, 1]; computed in float32 whatever the precision around it.

    `e(t) = [cos(1000 t w_0), ..., cos(1000 t w_{h-1}), sin(1000 t w_0), ..., sin(1000 t w_{h-1})]` with
    `w_i = 10000^(-i/h)` and `h = features / 2` (Vaswani et al. 2017, section 3.5, with the time as the position).
    """
    half = features // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    angles = TIME_SCALE * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def octaves(z: Float[Tensor, " batch"], count: int) -> Float[Tensor, "batch features"]:
    """`[z, sin(w_k z), cos(w_k z)]` with `w_k = 2^k pi / 8`, k < count, for standardised z: 1 + 2 count features.

    The slowest wave is monotone over four deviations, the fastest resolves a fraction of one.
    """
    frequencies = math.pi / 8 * 2.0 ** torch.arange(count, device=z.device, dtype=torch.float32)
    angles = z.float()[:, None] * frequencies
    return torch.cat([z.float()[:, None], angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """`V2 silu(V1 e(t))` with the sinusoidal `e`: times `[batch]` in [0, 1] to vectors `[batch, width]`.

    Raises `BadInput` for an odd number of `features`.
    """

    def __init__(self, width: int, features: int = 128) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise BadInput(f"{features} time features", "give an even number: half are sines, half cosines")
        self.features = features
        self.body = perceptron(features, width)

    def forward(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        return self.body(sinusoidal(t, self.features))


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """`V2 silu(V1 x)` with `width` hidden and output units."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
