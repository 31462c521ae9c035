"""Acting: put the units of a group in another order, or multiply their scales, in all of the group's places."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightsmith.graph.groups import Group


def reorder(tensors: Mapping[str, Tensor], group: Group, orders: Int[Tensor, "batch unit"]) -> None:
    """Put unit `orders[b, j]` in position `j` of network `b`, in place."""
    index = orders[:, None, :, None]
    for place in group.places:
        stretch = place.stretch(tensors[place.tensor])
        moved = torch.take_along_dim(place.by_unit(tensors[place.tensor]), index, dim=2)
        stretch.copy_(moved.reshape(stretch.shape))


def rescale(tensors: Mapping[str, Tensor], group: Group, factors: Float[Tensor, "batch unit"]) -> None:
    """Multiply by a unit's factor where its scale multiplies, and divide where it divides, in place."""
    for place in group.places:
        stretch = place.stretch(tensors[place.tensor])
        values = place.by_unit(tensors[place.tensor])
        scale = (factors if place.exponent == 1 else 1 / factors)[:, None, :, None]
        stretch.copy_((values * scale.to(values.dtype)).reshape(stretch.shape))
