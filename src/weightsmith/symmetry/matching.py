"""Matching: the order of every network's units in which it lies nearest to a reference.

Coordinate descent over the groups, each step an optimal assignment that maximises the inner product with the reference
(Ainsworth et al. 2023, Algorithm 1), from the identity; the distance never grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from weightsmith.graph.groups import Group, Place
from weightsmith.symmetry.acting import reorder

MAX_SWEEPS = 50
TOLERANCE = 1e-6  # of the largest inner product: ties and rounding must not keep the sweeps going


def match(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], groups: Sequence[Group]) -> None:
    """Permute units of networks `[batch, *shape]`, in place, towards one target `[1, *shape]`.

    Tensors that `target` lacks move with their units and do not decide.
    """
    batch = len(next(iter(tensors.values()), torch.empty(0)))
    stale = torch.ones(batch, len(groups), dtype=torch.bool)
    touches = _touching(groups, target)
    for _ in range(MAX_SWEEPS):
        for i, group in enumerate(groups):
            networks = stale[:, i].nonzero()[:, 0]
            if len(networks):
                stale[:, i] = False
                moved = _improve(tensors, target, group, networks)
                stale[networks[moved]] |= touches[i]
        if not bool(stale.any()):
            break


def _touching(groups: Sequence[Group], target: Mapping[str, Tensor]) -> Bool[Tensor, "group other"]:
    """Which groups to look at again when one has moved: those with a tensor in common, itself where it acts twice."""
    deciding = [group.tensors & target.keys() for group in groups]
    found = torch.zeros(len(groups), len(groups), dtype=torch.bool)
    for i, one in enumerate(deciding):
        for j, other in enumerate(deciding):
            found[i, j] = _is_coupled(groups[i], target) if i == j else bool(one & other)
    return found


def _improve(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], group: Group, networks: Int[Tensor, " network"]
) -> Bool[Tensor, " network"]:
    """Put one group's units in the order that fits the target best; which networks that moved."""
    whole = len(networks) == len(next(iter(tensors.values())))
    chosen = {name: tensors[name] if whole else tensors[name][networks] for name in group.tensors}
    similarity = _similarity(chosen, target, group)
    order = torch.stack([_assignment(one) for one in similarity])
    gain = _gain(similarity, order)
    if _is_coupled(group, target):
        gain = torch.minimum(gain, _true_gain(chosen, target, group, order))
    moved = gain > TOLERANCE * similarity.abs().amax(dim=(1, 2))
    if bool(moved.any()):
        order = torch.where(moved[:, None], order, torch.arange(group.units))
        reorder(chosen, group, order)
        if not whole:
            for name in group.tensors:
                tensors[name][networks] = chosen[name]
    return moved


def _similarity(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], group: Group
) -> Float[Tensor, "network unit other"]:
    """Inner products of every unit of the target with every unit of each network, over all of the group's places."""
    found = None
    for place in _deciding(group, target):
        wanted, held = (_rows(place, values[place.tensor]) for values in (target, tensors))
        product = wanted @ held.mT
        found = product if found is None else found + product
    if found is None:
        batch = len(tensors[group.places[0].tensor])
        return torch.zeros(batch, group.units, group.units)
    return found


def _rows(place: Place, tensor: Tensor) -> Float[Tensor, "network unit value"]:
    return place.by_unit(tensor).transpose(1, 2).flatten(2)


def _assignment(similarity: Float[Tensor, "unit other"]) -> Int[Tensor, " unit"]:
    return torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])


def _gain(
    similarity: Float[Tensor, "network unit other"], order: Int[Tensor, "network unit"]
) -> Float[Tensor, " network"]:
    """How much the inner product with the target grows, if no weight lies between two of the group's units."""
    after = similarity.gather(2, order[:, :, None])[:, :, 0]
    return (after - similarity.diagonal(dim1=1, dim2=2)).sum(dim=1)


def _true_gain(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], group: Group, order: Int[Tensor, "network unit"]
) -> Float[Tensor, " network"]:
    """How much it grows, whatever lies between what: by trying."""
    tried = {name: value.clone() for name, value in tensors.items()}
    reorder(tried, group, order)
    gains = [((tried[n] - tensors[n]) * target[n]).flatten(1).sum(dim=1) for n in group.tensors & target.keys()]
    return torch.stack(gains).sum(dim=0)


def _deciding(group: Group, target: Mapping[str, Tensor]) -> list[Place]:
    return [place for place in group.places if place.tensor in target]


def _is_coupled(group: Group, target: Mapping[str, Tensor]) -> bool:
    """Whether some weight is in two of a group's places, so that where it goes depends on two of its units."""
    places = _deciding(group, target)
    return any(_overlap(one, other) for i, one in enumerate(places) for other in places[:i])


def _overlap(one: Place, other: Place) -> bool:
    if one.tensor != other.tensor or one.rows != other.rows:
        return False
    if one.axis != other.axis:
        return True
    width = one.outer * one.units * one.inner, other.outer * other.units * other.inner
    return one.start < other.start + width[1] and other.start < one.start + width[0]
