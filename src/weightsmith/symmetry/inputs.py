"""Inputs that never vary: their weights are as free as a unit's order, and are moved into the bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from weightsmith.layout import Weights
from weightsmith.symmetry.tensors import copied, views

if TYPE_CHECKING:
    from weightsmith.symmetry.symmetry import Symmetry


def fold_inactive_inputs(
    weights: Weights, symmetry: Symmetry, active: Tensor, values: Float[Tensor, "channel height width"]
) -> Weights:
    """Move the weights of inputs that never vary in the data into the bias, and set them to zero.

    `active` is false where an input is constant, at `values`. Only linear layers on the input itself have weights of
    single inputs; others are left as they are.
    """
    if bool(active.all()) or not symmetry.input_layers:
        return weights
    vectors = copied(weights)
    tensors = views(weights.layout, vectors)
    silent = (~active).reshape(-1).to(vectors.dtype)
    for weight, bias in symmetry.input_layers:
        matrix = tensors[weight]
        if matrix.shape[2] == active.numel():
            tensors[bias] += matrix @ (silent * values.reshape(-1).to(vectors.dtype))
            matrix *= 1 - silent
    return weights.replace(vectors)
