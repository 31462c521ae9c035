"""By how much generated tensors are larger than the scale of their fan-in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST, MOST = 0.5, 3.0
_SLOPE = 0.1


def gains(logarithms: Tensor) -> Tensor:
    """`exp(z)`; beyond `LEAST` and `MOST`, only a tenth of the way further, in logarithms.

    Without these bounds whole residual branches of deep networks were written ever smaller while they did not help yet,
    and what is added to a residual stream ever larger. So they never came to help: their gradients had vanished.
    """
    logarithms = logarithms.float()
    inside = logarithms.clamp(math.log(LEAST), math.log(MOST))
    return torch.exp(inside + _SLOPE * (logarithms - inside))
