"""By how much generated tensors are larger than the scale of their fan-in."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 0.4
_SLOPE = 0.1


def gains(logarithms: Tensor) -> Tensor:
    """`exp(z)`, but `LEAST (e^z / LEAST)^(1/10)` where that is below `LEAST`: a tenth of the way, in logarithms.

    Without this bound whole residual branches of deep networks were written ever smaller while they did not help yet,
    and so never came to help: their gains, and with them all gradients of theirs, vanished.
    """
    return LEAST * torch.exp(F.leaky_relu(logarithms.float() - math.log(LEAST), _SLOPE))
