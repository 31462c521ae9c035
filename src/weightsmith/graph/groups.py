"""Groups: sets of units that may be permuted (or scaled) together, with every place in the tensors where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightsmith.graph import spaces
from weightsmith.graph.flow import Flow, Piece
from weightsmith.graph.spaces import Space


@dataclass(frozen=True)
class Place:
    """Where a group's units lie in a tensor: a stretch of one axis, from `start`, that is `[outer, units, inner]`.

    After a flatten a unit owns `inner` neighbouring columns, and `outer` such runs. `rows`: the place is in these rows
    of the first axis alone, from and to, and `start` counts from there (a grouped convolution). `exponent`: whether a
    unit's scale multiplies here (1) or divides (-1).
    """

    tensor: str
    axis: int
    start: int
    outer: int
    units: int
    inner: int
    rows: tuple[int, int] | None
    exponent: int

    def stretch(self, tensor: Tensor) -> Tensor:
        """This place in tensors `[batch, *shape]`, a view `[batch, ...]`."""
        found = self.piece(tensor)
        return found.narrow(self.axis + 1, self.start, self.outer * self.units * self.inner)

    def piece(self, tensor: Tensor) -> Tensor:
        """The rows that the place is in, of tensors `[batch, *shape]`, a view."""
        return tensor if self.rows is None else tensor[:, self.rows[0] : self.rows[1]]

    def by_unit(self, tensor: Tensor) -> Tensor:
        """The values here, `[batch, before, unit, after]`; a view where it can be."""
        found = self.stretch(tensor)
        before = found.shape[1 : self.axis + 1].numel() * self.outer
        return found.reshape(len(found), before, self.units, -1)

    def positions(self, size: int) -> Tensor:
        """For each position along an axis of that size the unit it belongs to; `units` where it is none's."""
        found = torch.full((size,), self.units)
        units = torch.arange(self.units).repeat_interleave(self.inner).repeat(self.outer)
        found[self.start : self.start + len(units)] = units
        return found


@dataclass(frozen=True)
class Group:
    """Units that move, or are scaled, together in all of their places. Its name says where they are first met."""

    name: str
    units: int
    places: tuple[Place, ...]

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset(place.tensor for place in self.places)


def permutation_groups(flow: Flow, names: Mapping[str, tuple[str, ...]]) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups in which every order of the units computes the same function, in the order of the operations.

    Then the hidden units that may not change places with any other, a group of one each.
    """
    found: dict[object, list[Place]] = {}
    for name, pieces in flow.pieces.items():
        for piece in pieces:
            for i, axis in enumerate(piece.axes):
                for space, place in _places(name, piece, i, axis.units):
                    found.setdefault(space.root, []).append(replace(place, exponent=1))
    groups = [_group(places, names) for places in found.values()]
    return tuple(group for group in groups if group.units > 1), tuple(group for group in groups if group.units == 1)


def scale_groups(flow: Flow, names: Mapping[str, tuple[str, ...]]) -> tuple[Group, ...]:
    """The groups in which every unit may be scaled by any positive factor: it multiplies somewhere, and divides."""
    found: dict[object, list[Place]] = {}
    for name, pieces in flow.pieces.items():
        for piece in pieces:
            scales = [(i, axis.scale) for i, axis in enumerate(piece.axes)] + piece.extra
            for i, scale in scales:
                for space, place in _places(name, piece, i, scale):
                    found.setdefault(space.root, []).append(place)
    return tuple(
        _group(_oriented(places), names) for places in found.values() if {place.exponent for place in places} == {1, -1}
    )


def _places(name: str, piece: Piece, axis: int, space: Space) -> Iterator[tuple[Space, Place]]:
    for block in spaces.blocks(space):
        units, exponent = block.space.size, -1 if block.space.inverted else 1
        yield block.space, Place(name, axis, block.start, block.outer, units, block.inner, piece.rows, exponent)


def _oriented(places: list[Place]) -> list[Place]:
    """The same scales or their inverses, so that they multiply where they are met first."""
    sign = places[0].exponent
    return [replace(place, exponent=place.exponent * sign) for place in places]


def _group(places: list[Place], names: Mapping[str, tuple[str, ...]]) -> Group:
    first = places[0]
    label = f"{first.tensor}:{first.axis}"
    if first.start or first.rows or first.outer * first.inner > 1:
        label += f"[{first.start}+{first.outer}x{first.units}x{first.inner}]"
    if first.rows:
        label += f"[rows {first.rows[0]}-{first.rows[1]}]"
    everywhere = tuple(replace(place, tensor=name) for place in places for name in names[place.tensor])
    return Group(label, first.units, everywhere)


def groups_along(groups: tuple[Group, ...], tensor: str, axis: int | None) -> tuple[str, ...]:
    """The names of the groups that act on an axis of a tensor."""
    return tuple(g.name for g in groups if any(p.tensor == tensor and p.axis == axis for p in g.places))
