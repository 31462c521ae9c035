"""Spaces: what lies along an axis, as a term that is learned piece by piece while operations are looked at.

A space is free (its units may be permuted, or scaled), frozen, another space (perhaps inverted, which only scales know:
`s` and `1/s`), several spaces one after another (a concatenation), or the product of several, outermost first (a
flatten).
Finding that two axes must be treated alike unifies their spaces. Where no exact way to do so is known, both are frozen,
so that what is left free is always a symmetry.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class _Frozen:
    """Neither permuted nor scaled."""


class _Joined(tuple):
    """Spaces one after another."""


class _Crossed(tuple):
    """The product of spaces, outermost first."""


class _Root:
    """One variable: what is known of it, or `None` while it is free."""

    __slots__ = ("content", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.content: Space | _Frozen | _Joined | _Crossed | None = None


class Space(NamedTuple):
    """A space, or with `inverted` the one whose scales are one over its."""

    root: _Root
    inverted: bool = False

    @property
    def size(self) -> int:
        return self.root.size

    @property
    def inverse(self) -> Space:
        return Space(self.root, not self.inverted)

    @property
    def is_free(self) -> bool:
        return self.resolved.root.content is None

    @property
    def is_frozen(self) -> bool:
        return isinstance(self.resolved.root.content, _Frozen)

    @property
    def resolved(self) -> Space:
        """The same space by the variable that says what it is."""
        space = self
        while isinstance(space.root.content, Space):
            space = space.root.content._turned(space.inverted)
        return space

    @property
    def parts(self) -> list[Space]:
        """What it is composed of: its parts or factors, or itself alone."""
        space = self.resolved
        content = space.root.content
        if isinstance(content, _Joined | _Crossed):
            return [part._turned(space.inverted).resolved for part in content]
        return [space]

    def _turned(self, inverted: bool) -> Space:
        return Space(self.root, self.inverted ^ inverted)

    def _become(self, content: Space | _Frozen | _Joined | _Crossed) -> None:
        """Say what this resolved space is; the content is given as seen from here."""
        if isinstance(content, Space):
            self.root.content = content._turned(self.inverted)
        elif isinstance(content, _Joined | _Crossed):
            self.root.content = type(content)(part._turned(self.inverted) for part in content)
        else:
            self.root.content = content


def free(size: int) -> Space:
    return Space(_Root(size)) if size > 0 else frozen(size)


def frozen(size: int) -> Space:
    space = Space(_Root(size))
    space._become(_Frozen())
    return space


def freeze(space: Space) -> None:
    """Make all of a space frozen."""
    space = space.resolved
    if space.is_frozen:
        return
    parts = space.parts
    space._become(_Frozen())
    for part in parts:
        if part.root is not space.root:
            freeze(part)


def joined(parts: Sequence[Space]) -> Space:
    """Spaces one after another."""
    flat = [part for whole in parts if whole.size for part in _pieces(whole, _Joined)]
    if len(flat) == 1:
        return flat[0]
    space = Space(_Root(sum(part.size for part in flat)))
    space._become(_Joined(flat) if flat else _Frozen())
    return space


def crossed(factors: Sequence[Space]) -> Space:
    """The product of spaces, outermost first. A factor of one is left out, and frozen: its scale is nobody's."""
    flat = [part for whole in factors for part in _pieces(whole, _Crossed)]
    for part in flat:
        if part.size == 1 and len(flat) > 1:
            freeze(part)
    flat = [part for part in flat if part.size != 1] or flat[:1]
    if len(flat) == 1:
        return flat[0]
    if all(part.is_frozen for part in flat):
        return frozen(math.prod(part.size for part in flat))
    space = Space(_Root(math.prod(part.size for part in flat)))
    space._become(_Crossed(flat))
    return space


def _pieces(space: Space, form: type) -> list[Space]:
    return space.parts if isinstance(space.resolved.root.content, form) else [space.resolved]


def unify(one: Space, other: Space) -> None:
    """Make two spaces the same, refining or freezing them as far as that asks."""
    one, other = one.resolved, other.resolved
    if one.root is other.root:
        if one.inverted != other.inverted:  # s = 1/s
            freeze(one)
    elif one.size != other.size or one.is_frozen or other.is_frozen:
        freeze(one)
        freeze(other)
    elif one.is_free:
        one._become(other)
    elif other.is_free:
        other._become(one)
    elif isinstance(one.root.content, _Joined) or isinstance(other.root.content, _Joined):
        cuts = sorted({cut for space in (one, other) for cut in _cuts(space)})
        for left, right in zip(split(one, cuts), split(other, cuts), strict=True):
            unify(left, right)
    else:
        _unify_products(one, other)


def _cuts(space: Space) -> list[int]:
    parts = _pieces(space, _Joined)
    return list(itertools.accumulate(part.size for part in parts))[:-1]


def _unify_products(one: Space, other: Space) -> None:
    ends = {end for space in (one, other) for end in itertools.accumulate((p.size for p in space.parts), int.__mul__)}
    ladder = [1, *sorted(ends)]
    if any(above % below for below, above in itertools.pairwise(ladder)):
        freeze(one)
        freeze(other)
        return
    sizes = [above // below for below, above in itertools.pairwise(ladder)]
    for left, right in zip(factored(one, sizes), factored(other, sizes), strict=True):
        unify(left, right)


def split(space: Space, cuts: Sequence[int]) -> list[Space]:
    """The parts of a space between cuts."""
    result = []
    done = 0
    for cut in cuts:
        left, space = _halves(space, cut - done)
        result.append(left)
        done = cut
    return [*result, space]


def _halves(space: Space, cut: int) -> tuple[Space, Space]:
    space = space.resolved
    if cut <= 0 or cut >= space.size:
        ends = frozen(0), space
        return ends if cut <= 0 else (space, ends[0])
    content = space.root.content
    if content is None:
        halves = free(cut), free(space.size - cut)
        space._become(_Joined(halves))
        return halves
    if isinstance(content, _Joined):
        return _halves_of_joined(space, cut)
    if isinstance(content, _Crossed):
        outer, *inner = space.parts
        width = space.size // outer.size
        if cut % width == 0:
            left, right = (crossed([half, *inner]) for half in _halves(outer, cut // width))
            space._become(_Joined((left, right)))
            return left, right
        freeze(space)
    return frozen(cut), frozen(space.size - cut)


def _halves_of_joined(space: Space, cut: int) -> tuple[Space, Space]:
    left: list[Space] = []
    right: list[Space] = []
    start = 0
    for part in space.parts:
        if start + part.size <= cut:
            left.append(part)
        elif start >= cut:
            right.append(part)
        else:
            before, after = _halves(part, cut - start)
            left.append(before)
            right.append(after)
        start += part.size
    return joined(left), joined(right)


def factored(space: Space, sizes: Sequence[int]) -> list[Space]:
    """A space as the product of spaces of these sizes, outermost first."""
    space = space.resolved
    if len(sizes) == 1 or math.prod(sizes) != space.size:
        if len(sizes) == 1 and sizes[0] == space.size:
            return [space]
        freeze(space)
        return [frozen(size) for size in sizes]
    if space.is_free:
        factors = [free(size) if size > 1 else frozen(size) for size in sizes]
        space._become(crossed(factors))
        return factors
    found = _factors(space.parts, sizes) if isinstance(space.root.content, _Crossed) else None
    if found is None:
        freeze(space)
        return [frozen(size) for size in sizes]
    return found


def _factors(parts: list[Space], sizes: Sequence[int]) -> list[Space] | None:
    """Regroup factors to the sizes asked for; `None` where a factor would have to be cut in another way."""
    rest, result = list(parts), []
    for size in sizes:
        taken: list[Space] = []
        missing = size
        while missing > 1:
            first = rest.pop(0)
            if missing % first.size == 0:
                taken.append(first)
                missing //= first.size
            elif first.size % missing == 0:
                head, tail = factored(first, [missing, first.size // missing])
                taken.append(head)
                rest.insert(0, tail)
                missing = 1
            else:
                return None
        result.append(crossed(taken) if taken else frozen(1))
    return result


@dataclass(frozen=True)
class Block:
    """A stretch of an axis, from `start`, that is `[outer, units, inner]`, with the free space that its units are."""

    space: Space
    start: int
    outer: int
    inner: int


def settle(space: Space) -> bool:
    """Freeze concatenations that stand inside a product, which are no stretches of an axis; whether any was."""
    space = space.resolved
    content, parts, changed = space.root.content, space.parts, False
    for i, part in enumerate(parts):
        if isinstance(content, _Crossed) and i and isinstance(part.root.content, _Joined):
            freeze(part)
            changed = True
        elif part.root is not space.root:
            changed |= settle(part)
    return changed


def blocks(space: Space, start: int = 0, inner: int = 1) -> Iterator[Block]:
    """Every free space of a settled space, with where it lies."""
    space = space.resolved
    content = space.root.content
    if content is None:
        yield Block(space, start, 1, inner)
    elif isinstance(content, _Joined):
        for part in space.parts:
            yield from blocks(part, start, inner)
            start += part.size * inner
    elif isinstance(content, _Crossed):
        first, *others = space.parts
        width = inner * math.prod(part.size for part in others)
        yield from blocks(first, start, width)
        before = first.size
        for part in others:
            width //= part.size
            for block in blocks(part, 0, width):
                yield Block(block.space, start, before * block.outer, block.inner)
            before *= part.size
