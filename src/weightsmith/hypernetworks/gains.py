"""By how much generated tensors are larger than the scale of their fan-in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST = 2.5


def gains(logarithms: Tensor) -> Tensor:
    """`exp(c tanh(z / c))` with `c = log(MOST)`: `exp(z)` for small ones, and between `1 / MOST` and `MOST` for all.

    Without bounds whole residual branches of deep networks were written ever smaller while they did not help yet, and
    what is added to a residual stream ever larger. Such networks are linear in their input, and hardly come to be
    anything else: the gradients of the branches have vanished.
    """
    bound = math.log(MOST)
    return torch.exp(bound * torch.tanh(logarithms.float() / bound))
