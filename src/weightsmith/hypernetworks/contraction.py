"""Contraction: what the tensors of a network say of its units, the adjoint of writing tensors from pairs of units."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.hypernetworks.blueprint import SIDES, Blueprint, Key
from weightsmith.hypernetworks.network import Pairs

_Rows = dict[Key, Tensor]


class _Target(NamedTuple):
    """The groups of units of one layer along one axis of one tensor: of them the tensor says something."""

    number: int
    axis: int
    layer: int


class Contraction:
    """Standardised tensors, contracted with the factors that `pairs` would write them from.

    `values`: one a tensor of the blueprint, of variance one or so; `tensors` `[tensor, dim]`: the code of each.
    """

    def __init__(self, pairs: Pairs, blueprint: Blueprint, values: Sequence[Tensor], tensors: Tensor) -> None:
        self._pairs, self._blueprint = pairs, blueprint
        self._modulation = 1 + pairs.modulate_units(tensors).unflatten(-1, (SIDES, -1))
        self._ranks = 1 + pairs.modulate_ranks(tensors)
        self._weights = pairs.gain(tensors).exp()
        self._values: list[Tensor] = []
        self._places: list[list[Tensor]] = []
        self._targets: list[list[_Target]] = [[] for _ in range(blueprint.spaces)]
        one = self._ranks.new_ones(1, 1, self._ranks.shape[1])
        grids = {key: _of_size_one(table) for key, table in pairs.grid_factors(blueprint, tensors).items()}
        for number, plan in enumerate(blueprint.tensors):
            sizes = [axis.size for axis in plan.axes] or [1]
            self._values.append(values[number].reshape(plan.blocks, *sizes))
            places = [
                one if axis.fixed is None else grids[number, i, 0][axis.fixed] for i, axis in enumerate(plan.axes)
            ]
            self._places.append(places or [one])
            for i, axis in enumerate(plan.axes):
                for j, index in enumerate(axis.units):
                    for space in blueprint.space_of[index[index >= 0]].unique().tolist():
                        self._targets[space].append(_Target(number, i, j))

    def units(
        self, spaces: Sequence[int], codes: Float[Tensor, "unit dim"], known: Bool[Tensor, " unit"]
    ) -> Float[Tensor, "unit dim"]:
        """What is said of the units of these spaces, given the `codes` of all that are `known`; others count alike.

        Each word is brought to a variance of one and weighs as the fourth root of how many entries it sums over; one
        that sums over units which are not known yet weighs as one entry.
        """
        rows: _Rows = {}
        total, squares = torch.zeros_like(codes), codes.new_zeros(len(codes), 1)
        for target in dict.fromkeys(target for space in spaces for target in self._targets[space]):
            self._read(rows, target, codes, known)
            index = self._index(target).flatten()
            inside = index >= 0
            at = index[inside]
            word = self._word(target, rows)[inside]
            value, side = self._values[target.number], min(target.axis, 1)
            each = value.numel() / (len(value) * value.shape[target.axis + 1])
            entries = each * torch.bincount(at, minlength=len(codes))[:, None]
            weight = self._weights[target.number] * (entries**0.25 if self._is_settled(target, known) else entries > 0)
            word = ((word @ self._pairs.sides[side].T) * self._modulation[target.number, side]).float()
            total = total.index_add(0, at, word * (weight * entries.clamp_min(1).rsqrt())[at])
            squares = squares + weight.square()
        return total * torch.rsqrt(squares + 1e-6)

    def tensors(self, codes: Float[Tensor, "unit dim"]) -> Float[Tensor, "tensor rank"]:
        """Every tensor contracted with the factors of all its axes, brought to a variance of one."""
        rows: _Rows = {}
        known = torch.ones(len(codes), dtype=torch.bool)
        for target in (target for targets in self._targets for target in targets):
            self._read(rows, target, codes, known)
        found = [codes.new_zeros(0, self._ranks.shape[1])]
        for number, value in enumerate(self._values):
            factors = [self._factor(number, axis, rows) for axis in range(value.ndim - 1)]
            along = _contracted(value, factors, 0) * factors[0]
            found.append(along.float().sum((0, 1))[None] / math.sqrt(max(value.numel(), 1)))
        return torch.cat(found) * self._ranks

    def _read(self, rows: _Rows, target: _Target, codes: Tensor, known: Tensor) -> None:
        """Add to `rows` the factors of the units along all axes of the target's tensor; of an unknown one it is one."""
        number = target.number
        for i, axis in enumerate(self._blueprint.tensors[number].axes):
            for j, index in enumerate(axis.units):
                if (number, i, j) not in rows:
                    side, at = min(i, 1), index.clamp_min(0)
                    row = (codes[at] * self._modulation[number, side]) @ self._pairs.sides[side]
                    rows[number, i, j] = torch.where(((index >= 0) & known[at])[..., None], row, 1.0)

    def _word(self, target: _Target, rows: _Rows) -> Tensor:
        """`[block x index, rank]`: the sum over all other axes, times what else lies along the target's own."""
        number, axis, layer = target
        factors = [self._factor(number, i, rows) for i in range(self._values[number].ndim - 1)]
        along = _contracted(self._values[number], factors, axis)
        return (along * self._factor(number, axis, rows, without=layer)).flatten(0, 1) * self._ranks[number]

    def _factor(self, number: int, axis: int, rows: _Rows, without: int | None = None) -> Tensor:
        """The product along an axis, `[block or 1, index or 1, rank]`."""
        found = self._places[number][axis]
        axes = self._blueprint.tensors[number].axes
        for layer in range(len(axes[axis].units) if axes else 0):
            found = found if layer == without else found * rows[number, axis, layer]
        return found

    def _index(self, target: _Target) -> Tensor:
        return self._blueprint.tensors[target.number].axes[target.axis].units[target.layer]

    def _is_settled(self, target: _Target, known: Tensor) -> bool:
        """Whether all other units that the tensor's axes run over are known."""
        axes = self._blueprint.tensors[target.number].axes
        others = [
            index[index >= 0]
            for i, axis in enumerate(axes)
            for j, index in enumerate(axis.units)
            if (i, j) != (target.axis, target.layer)
        ]
        return all(bool(known[index].all()) for index in others)


def _contracted(value: Tensor, factors: Sequence[Tensor], axis: int) -> Tensor:
    """`sum value x (the factors of all axes but one)`, `[block, index, rank]`; factors `[block or 1, index, rank]`."""
    names = string.ascii_lowercase[: value.ndim - 1]
    others = [i for i in range(value.ndim - 1) if i != axis]
    if not others:
        return value[..., None] * factors[axis].new_ones(factors[axis].shape[-1])
    read = "".join(f",z{names[i]}r" for i in others)
    return torch.einsum(f"z{names}{read}->z{names[axis]}r", value, *(factors[i] for i in others))


def _of_size_one(table: Tensor) -> Tensor:
    """Factors of a root mean square of one at each rank."""
    return table * torch.rsqrt(table.square().mean((0, 1), keepdim=True) + 1e-12)
