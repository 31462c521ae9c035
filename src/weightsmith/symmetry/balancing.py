"""Balancing: of all scales of the units that compute the same function, those of the smallest weights.

For a unit with incoming weights `u` and outgoing weights `v`, `relu(s u . x) v / s = relu(u . x) v` for every `s > 0`,
and `s^2 |u|^2 + |v|^2 / s^2` is smallest where both are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.graph.groups import Group, Place

MAX_SWEEPS = 200
SMALLEST_MOVE = 1e-7


@dataclass(frozen=True)
class _Reading:
    """How one group acts along an axis of sums: the unit of each of them (one past the last: none), and which way."""

    group: int
    axis: int
    unit: Tensor
    exponent: int

    def of(self, factor: Float[Tensor, "batch unit"]) -> Float[Tensor, "batch sum"]:
        """What the group's factors multiply each sum by."""
        if not _is_in_order(self.unit, factor.shape[1]):
            factor = torch.cat([factor, factor.new_ones(len(factor), 1)], dim=1)[:, self.unit]
        return factor if self.exponent == 1 else 1 / factor

    def by_unit(self, sums: Float[Tensor, "batch sum"], units: int) -> Float[Tensor, "batch unit"]:
        """The sums added up for each unit."""
        if _is_in_order(self.unit, units):
            return sums
        return sums.new_zeros(len(sums), units + 1).index_add_(1, self.unit, sums)[:, :units]


class _Sums:
    """Squares of a tensor (or of rows of it) summed over all that no group tells apart: `[batch, *classes]`."""

    def __init__(self, piece: Tensor, places: Sequence[tuple[int, Place]]) -> None:
        self._values, self._members, self.readings = piece, {}, []
        for axis in sorted({place.axis for _, place in places}):
            here = [(group, place) for group, place in places if place.axis == axis]
            units = torch.stack([place.positions(piece.shape[axis + 1]) for _, place in here])
            classes, members = torch.unique(units, dim=1, return_inverse=True)
            self._members[axis + 1] = members
            for (group, place), unit in zip(here, classes, strict=True):
                self.readings.append(_Reading(group, axis + 1, unit, place.exponent))
        self._energy = piece.square()
        for axis in range(1, piece.ndim):
            self._energy = _summed_by_class(self._energy, axis, self._members.get(axis))

    def along(self, reading: _Reading) -> Float[Tensor, "batch sum"]:
        """The sums along one axis, over all others."""
        others = [axis for axis in range(1, self._energy.ndim) if axis != reading.axis]
        return self._energy.sum(dim=others) if others else self._energy

    def multiply(self, reading: _Reading, factor: Float[Tensor, "batch sum"]) -> None:
        self._energy = self._energy * _stretched(factor, reading.axis, self._energy.ndim)

    def scale_values(self, factors: Sequence[Tensor]) -> None:
        """Multiply the weights themselves, in place, by what their groups' factors came to."""
        for axis, members in self._members.items():
            here = [reading.of(factors[reading.group]) for reading in self.readings if reading.axis == axis]
            total = reduce(torch.mul, here)
            self._values.mul_(_stretched(total[:, members], axis, self._values.ndim))


def balance(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> None:
    """Scale the units of all groups, in place, until the squares of what comes in and goes out are equal at each.

    Sweeps over the groups until no scale moves by more than 1e-7. It works on sums of squares between units, so that
    the weights themselves are touched once; a unit whose incoming or outgoing weights are all zero keeps its scale.
    """
    pieces: dict[tuple[str, tuple[int, int] | None], list[tuple[int, Place]]] = {}
    for i, group in enumerate(groups):
        for place in group.places:
            pieces.setdefault((place.tensor, place.rows), []).append((i, place))
    sums = [_Sums(here[0][1].piece(tensors[name]), here) for (name, _), here in pieces.items()]
    if sums:
        factors = _balancing_factors(sums, groups)
        for one in sums:
            one.scale_values([factor.sqrt() for factor in factors])


def _balancing_factors(sums: Sequence[_Sums], groups: Sequence[Group]) -> list[Tensor]:
    """By what to multiply the squares of each group's units."""
    readers = [[(one, r) for one in sums for r in one.readings if r.group == i] for i in range(len(groups))]
    factors = [torch.ones(1, group.units, dtype=torch.float64) for group in groups]
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for i, here in enumerate(readers):
            factor = _balancing_factor(here, groups[i].units)
            for one, reading in here:
                one.multiply(reading, reading.of(factor))
            factors[i] = factors[i] * factor
            largest = max(largest, float(factor.log().abs().max()))
        if largest < SMALLEST_MOVE:
            break
    return factors


def _balancing_factor(here: Sequence[tuple[_Sums, _Reading]], units: int) -> Float[Tensor, "batch unit"]:
    """One group's factor. Where a weight lies between two of its units, both move it, so each goes half the way:

    `s_i s_j <= (s_i^2 + s_j^2) / 2` bounds the squares by ones that are smallest there, so that they never grow.
    """
    incoming, outgoing = (
        torch.stack([r.by_unit(one.along(r), units) for one, r in here if r.exponent == exponent]).sum(dim=0)
        for exponent in (1, -1)
    )
    alive = (incoming > 0) & (outgoing > 0)
    factor = torch.where(alive, (outgoing / incoming).sqrt(), 1.0)
    coupled = len({id(one) for one, _ in here}) < len(here)
    return factor.sqrt() if coupled else factor


def _summed_by_class(squares: Tensor, axis: int, members: Tensor | None) -> Tensor:
    """Sum over an axis within each class of its positions; over all of it when there are no classes."""
    if members is None:
        return squares.sum(dim=axis, keepdim=True)
    classes = int(members.max()) + 1
    width = len(members) // classes
    if torch.equal(members, torch.arange(classes).repeat_interleave(width)):
        return squares.unflatten(axis, (classes, width)).sum(dim=axis + 1) if width > 1 else squares
    shape = [*squares.shape[:axis], classes, *squares.shape[axis + 1 :]]
    return squares.new_zeros(shape).index_add_(axis, members, squares)


def _is_in_order(unit: Tensor, units: int) -> bool:
    return torch.equal(unit, torch.arange(units))


def _stretched(factor: Tensor, axis: int, ndim: int) -> Tensor:
    """A factor `[batch, position]` shaped to multiply along one axis of a tensor."""
    return factor.reshape(len(factor), *(-1 if i == axis else 1 for i in range(1, ndim)))
