"""Memory: learned keys that a state is compared with, and what is recalled of the nearest."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.denoisers.modulation import Modulation, modulate, plain_norm

SHARPNESS = 4.0  # of the first comparisons; training finds its own, by the keys and the time's scale


class Memory(nn.Module):
    """`h + g V softmax(beta K (norm(h) (1 + a) + b))` with `slots` learned keys K and values V, on `[batch, width]`.

    Gate g, scale a and shift b follow from time and conditions, so that how sharply is recalled changes with the noise
    (persistent memory: Sukhbaatar et al. 2019, section 3.3). The best denoiser of finitely many networks has this
    very form, with the networks as keys and values; a perceptron blends where this one chooses.
    """

    def __init__(self, width: int, slots: int, condition: int) -> None:
        super().__init__()
        self.norm, self.modulation = plain_norm(width), Modulation(condition, width, 3)
        self.keys, self.values = nn.Linear(width, slots), nn.Linear(slots, width, bias=False)
        nn.init.normal_(self.keys.weight, std=width**-0.5)
        nn.init.normal_(self.values.weight)

    def forward(self, h: Float[Tensor, "batch width"], c: Float[Tensor, "batch c"]) -> Float[Tensor, "batch width"]:
        shift, scale, gate = self.modulation(c)
        alike = self.keys(modulate(self.norm(h), shift, scale)).float() * SHARPNESS
        return h + gate * self.values(torch.softmax(alike, dim=1).to(h.dtype))
