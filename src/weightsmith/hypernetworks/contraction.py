"""Contraction: what the tensors of a network say of its units, the adjoint of writing tensors from pairs of units."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.pairs import Pairs
from weightsmith.hypernetworks.plans import SIDES, Hearing, Key, Mention


class Contraction:
    """Standardised tensors, contracted with the factors that `pairs` would write them from.

    `values`: one a tensor of the blueprint, of variance one or so; `tensors` `[tensor, dim]`: the code of each.
    """

    def __init__(self, pairs: Pairs, blueprint: Blueprint, values: Sequence[Tensor], tensors: Tensor) -> None:
        self._pairs, self._blueprint, self._tensors = pairs, blueprint, tensors
        self._modulation = 1 + pairs.modulate_units(tensors).unflatten(-1, (SIDES, -1))  # (T, 2, D)
        self._ranks = 1 + pairs.modulate_ranks(tensors)
        self._loudness = pairs.gains(tensors)
        self._values: list[Tensor] = []
        self._places: list[list[Tensor]] = []
        grids = {key: _of_size_one(table) for key, table in pairs.grid_factors(blueprint, tensors).items()}
        one = self._ranks.new_ones(1, 1, self._ranks.shape[1])
        for number, plan in enumerate(blueprint.tensors):
            self._values.append(values[number].reshape(plan.blocks, *([axis.size for axis in plan.axes] or [1])))
            places = [
                one if axis.fixed is None else grids[number, i, 0][axis.fixed] for i, axis in enumerate(plan.axes)
            ]
            self._places.append(places or [one])

    def space(self, space: int, codes: Float[Tensor, "unit dim"]) -> Float[Tensor, "unit dim"]:
        """What is said of the units of one space, given the `codes` of the spaces before it; others count alike."""
        hearing = self._blueprint.heard_in_order[space]
        rows: dict[Key, Tensor] = {}
        for words in hearing.sides:
            for mention in words.mentions:
                self._read(rows, mention.key[0], codes, space)
        return self._said(hearing, rows)

    def everywhere(self, codes: Float[Tensor, "unit dim"]) -> Float[Tensor, "unit dim"]:
        """What is said of all units, given the `codes` of all."""
        return self._said(self._blueprint.heard, self._all_rows(codes))

    def tensors(self, codes: Float[Tensor, "unit dim"]) -> Float[Tensor, "tensor rank"]:
        """Every tensor contracted with the factors of all its axes, brought to a variance of one."""
        rows = self._all_rows(codes)
        found = [codes.new_zeros(0, self._ranks.shape[1])]
        for number, value in enumerate(self._values):
            factors = self._factors(number, rows)
            whole = (_contracted(value, factors, 0) * factors[0]).float()
            found.append(whole.sum((0, 1))[None] / math.sqrt(max(value.numel(), 1)))
        return torch.cat(found) * self._ranks

    def _said(self, hearing: Hearing, rows: dict[Key, Tensor]) -> Tensor:
        """The words of these mentions, each brought to a variance of one and weighed."""
        total = self._loudness.new_zeros(self._blueprint.units, self._modulation.shape[2])
        weights = hearing.weights * self._loudness.index_select(0, hearing.tensors)[:, None]
        scales = (weights * hearing.spreads).flatten()
        for side, heard in enumerate(hearing.sides):
            if heard.mentions:
                words = torch.cat([self._word(mention, rows) for mention in heard.mentions])
                modulation = self._modulation[:, side].index_select(0, heard.tensors)
                words = (words @ self._pairs.sides[side].T) * modulation
                total = total.index_add(0, heard.units, words.float() * scales.index_select(0, heard.places)[:, None])
        return total * torch.rsqrt(weights.square().sum(0) + 1e-6)[:, None]

    def _word(self, mention: Mention, rows: dict[Key, Tensor]) -> Tensor:
        """`[index, rank]`: the sum over all other axes, times what else lies along the mention's own."""
        number, axis, layer = mention.key
        along = _contracted(self._values[number], self._factors(number, rows), axis)
        found = (along * self._factor(number, axis, rows, without=layer)).flatten(0, 1) * self._ranks[number]
        return found if mention.inside is None else found.index_select(0, mention.inside)

    def _factors(self, number: int, rows: dict[Key, Tensor]) -> list[Tensor]:
        return [self._factor(number, axis, rows) for axis in range(len(self._places[number]))]

    def _factor(self, number: int, axis: int, rows: dict[Key, Tensor], without: int | None = None) -> Tensor:
        """The product along an axis, `[block or 1, index or 1, rank]`."""
        found = self._places[number][axis]
        axes = self._blueprint.tensors[number].axes
        for layer in range(len(axes[axis].units) if axes else 0):
            found = found if layer == without else found * rows[number, axis, layer]
        return found

    def _all_rows(self, codes: Tensor) -> dict[Key, Tensor]:
        """The factors of all units along all axes, `[block, index, rank]`."""
        found = self._pairs.unit_factors(self._blueprint, codes, self._tensors)
        return {key: value.unflatten(0, self._index(key).shape) for key, value in found.items()}

    def _read(self, rows: dict[Key, Tensor], number: int, codes: Tensor, spaces: int) -> None:
        """Add to `rows` those of one tensor; the factor of a unit beyond the first `spaces` is one."""
        for i, axis in enumerate(self._blueprint.tensors[number].axes):
            for j, index in enumerate(axis.units):
                if (number, i, j) not in rows:
                    at, side = index.clamp_min(0), min(i, 1)
                    row = (codes[at] * self._modulation[number, side]) @ self._pairs.sides[side]
                    known = (index >= 0) & (self._blueprint.space_of[at] < spaces)
                    rows[number, i, j] = torch.where(known[..., None], row, 1.0)

    def _index(self, key: Key) -> Tensor:
        number, axis, layer = key
        return self._blueprint.tensors[number].axes[axis].units[layer]


def _contracted(value: Tensor, factors: Sequence[Tensor], axis: int) -> Tensor:
    """`sum value x (the factors of all axes but one)`, `[block, index, rank]`; factors `[block or 1, index, rank]`."""
    names = string.ascii_lowercase[: value.ndim - 1]
    others = [i for i in range(value.ndim - 1) if i != axis]
    if not others:
        return value[..., None] * factors[axis].new_ones(factors[axis].shape[-1])
    read = "".join(f",z{names[i]}r" for i in others)
    return torch.einsum(f"z{names}{read}->z{names[axis]}r", value, *(factors[i] for i in others))


def _of_size_one(table: Tensor) -> Tensor:
    """Factors `[place, rank]` of a root mean square of one at each rank."""
    return table * torch.rsqrt(table.square().mean(0, keepdim=True) + 1e-12)
