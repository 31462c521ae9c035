"""Factors that differ by sample: one number a sample, spread over all its other dimensions and over no others."""

from __future__ import annotations

from torch import Tensor

from weightsmith.errors import BadInput


def per_sample(factor: Tensor, x: Tensor) -> Tensor:
    """`factor [batch]` as `[batch, 1, ...]`, in the dtype and on the device of `x [batch, ...]`.

    Raises `BadInput` unless there is exactly one factor a sample: a `[dim]` or `[1]` would broadcast in silence.
    """
    if x.ndim == 0 or tuple(factor.shape) != (x.shape[0],):
        raise BadInput(
            f"one number a sample was expected for states {list(x.shape)}, got shape {list(factor.shape)}",
            "give a tensor of shape [batch], the first dimension of the states",
        )
    return factor.to(device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
