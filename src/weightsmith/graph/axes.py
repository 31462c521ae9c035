"""Axes: what is known of each axis of a value, its units and their scales, and how shapes are rearranged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from weightsmith.graph import spaces
from weightsmith.graph.spaces import Space


class Axis(NamedTuple):
    """One axis of a value: how its units may be permuted, and scaled, when the value's makers and readers follow."""

    units: Space
    scale: Space

    @property
    def size(self) -> int:
        return self.units.size

    @property
    def unscaled(self) -> Axis:
        """The same units, at a scale of one; what scale they had is frozen."""
        spaces.freeze(self.scale)
        return Axis(self.units, spaces.frozen(self.size))


Axes = list[Axis]
Found = Axes | list[Axes]  # of one output, or of several


def free(shape: Iterable[int]) -> Axes:
    return [Axis(spaces.free(size), spaces.free(size)) for size in shape]


def frozen(shape: Iterable[int]) -> Axes:
    return [Axis(spaces.frozen(size), spaces.frozen(size)) for size in shape]


def freeze(*axes: Axis) -> None:
    for axis in axes:
        spaces.freeze(axis.units)
        spaces.freeze(axis.scale)


def unify(one: Axis, other: Axis) -> None:
    spaces.unify(one.units, other.units)
    spaces.unify(one.scale, other.scale)


def contract(one: Axis, other: Axis) -> None:
    """Two axes that are summed over together: the units agree, and the scales cancel."""
    spaces.unify(one.units, other.units)
    spaces.unify(one.scale, other.scale.inverse)


def joined(parts: Sequence[Axis]) -> Axis:
    return _of_both(spaces.joined, parts)


def crossed(factors: Sequence[Axis]) -> Axis:
    return _of_both(spaces.crossed, factors)


def split(axis: Axis, cuts: Sequence[int]) -> Axes:
    return _both(spaces.split, axis, cuts)


def factored(axis: Axis, sizes: Sequence[int]) -> Axes:
    return _both(spaces.factored, axis, sizes)


def _of_both(compose: Callable[[Sequence[Space]], Space], parts: Sequence[Axis]) -> Axis:
    return Axis(compose([part.units for part in parts]), compose([part.scale for part in parts]))


def _both(take: Callable[[Space, Sequence[int]], list[Space]], axis: Axis, sizes: Sequence[int]) -> Axes:
    return [Axis(*pair) for pair in zip(take(axis.units, sizes), take(axis.scale, sizes), strict=True)]


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after a reshape, which merges neighbours (a flatten) and cuts axes into factors."""
    if math.prod(shape) != math.prod(axis.size for axis in axes) or 0 in shape:
        freeze(*axes)
        return frozen(shape)
    result: Axes = []
    before, after = list(axes), list(shape)
    while before or after:
        merged, sizes = _next_match(before, after)
        if len(merged) == len(sizes) == 1:
            result += merged
        elif not merged:
            result += frozen(sizes)
        elif not sizes:
            freeze(*merged)
        else:
            result += factored(crossed(merged), sizes)
    return result


def _next_match(before: Axes, after: list[int]) -> tuple[Axes, list[int]]:
    """Take the fewest leading axes and sizes that hold equally many values."""
    merged, sizes = before[:1], after[:1]
    del before[:1], after[:1]
    have, want = math.prod(axis.size for axis in merged), math.prod(sizes)
    while have != want:
        if have < want:
            merged.append(before.pop(0))
            have *= merged[-1].size
        else:
            sizes.append(after.pop(0))
            want *= sizes[-1]
    return merged, sizes
