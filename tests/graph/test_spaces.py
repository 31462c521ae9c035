"""Spaces are held to what they mean: after any unifications, random permutations of what is free agree everywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.graph import spaces
from weightsmith.graph.spaces import Space


def permutation(space: Space, orders: dict[object, torch.Tensor]) -> torch.Tensor:
    """Where each position comes from, written here a second time: from the meaning of the terms, not of blocks."""
    space = space.resolved
    if space.is_free:
        rng = torch.Generator().manual_seed(len(orders))
        return orders.setdefault(space.root, torch.randperm(space.size, generator=rng))
    if space.is_frozen:
        return torch.arange(space.size)
    parts = [permutation(part, orders) for part in space.parts]
    if isinstance(space.root.content, spaces._Joined):
        starts = [sum(len(part) for part in parts[:i]) for i in range(len(parts))]
        return torch.cat([part + start for part, start in zip(parts, starts, strict=True)])
    found = torch.zeros(1, dtype=torch.int64)
    for part in parts:
        found = (found[:, None] * len(part) + part[None, :]).reshape(-1)
    return found


def by_blocks(space: Space, orders: dict[object, torch.Tensor]) -> torch.Tensor:
    """The same from the blocks that groups are made of."""
    found = torch.arange(space.size)
    for block in spaces.blocks(space):
        units = block.space.size
        stretch = found[block.start : block.start + block.outer * units * block.inner]
        moved = stretch.reshape(block.outer, units, block.inner)[:, orders[block.space.root]]
        found[block.start : block.start + len(stretch)] = moved.reshape(-1)
    return found


def test_a_flatten_is_a_product_and_its_units_own_runs_of_columns() -> None:
    channels, columns = spaces.free(3), spaces.free(12)
    spaces.unify(columns, spaces.crossed([channels, spaces.frozen(4)]))
    (block,) = spaces.blocks(columns)
    assert (block.space.root, block.start, block.outer, block.inner) == (channels.root, 0, 1, 4)


def test_concatenations_are_cut_where_any_of_them_is() -> None:
    one = spaces.joined([spaces.free(3), spaces.free(4)])
    other = spaces.joined([spaces.free(2), spaces.free(5)])
    spaces.unify(one, other)
    assert [block.space.size for block in spaces.blocks(one)] == [2, 1, 4]
    assert [block.space for block in spaces.blocks(one)] == [block.space for block in spaces.blocks(other)]


def test_products_are_refined_and_what_cannot_be_is_frozen() -> None:
    one = spaces.crossed([spaces.free(2), spaces.free(6)])
    spaces.unify(one, spaces.crossed([spaces.free(4), spaces.free(3)]))
    assert [(b.outer, b.space.size, b.inner) for b in spaces.blocks(one)] == [(1, 2, 6), (2, 2, 3), (4, 3, 1)]
    other = spaces.crossed([spaces.free(2), spaces.free(3)])
    spaces.unify(other, spaces.crossed([spaces.free(3), spaces.free(2)]))
    assert other.is_frozen
    assert not list(spaces.blocks(other))


def test_a_product_is_cut_between_its_outer_units_only() -> None:
    whole = spaces.crossed([spaces.free(5), spaces.free(2)])
    left, right = spaces.split(whole, [4])
    assert [(b.space.size, b.inner) for b in spaces.blocks(left)] == [(2, 2), (2, 1)]
    assert (left.size, right.size) == (4, 6)
    spaces.split(whole, [3])
    assert not list(spaces.blocks(left))


def test_what_is_its_own_inverse_is_frozen() -> None:
    space, same = spaces.free(3), spaces.free(3)
    spaces.unify(space, same)
    spaces.unify(space, same.inverse)
    assert same.is_frozen


def test_inverses_pass_through_compositions() -> None:
    scale, whole = spaces.free(3), spaces.free(5)
    spaces.unify(whole, spaces.joined([scale, spaces.free(2)]).inverse)
    (alone,), (first, _) = spaces.blocks(scale), spaces.blocks(whole)
    assert (first.space.root, first.space.inverted) == (alone.space.root, not alone.space.inverted)


@pytest.mark.parametrize("sizes", [(3, 4), (4, 3)])
def test_spaces_of_other_sizes_are_never_the_same(sizes: tuple[int, int]) -> None:
    one, other = map(spaces.free, sizes)
    spaces.unify(one, other)
    assert one.is_frozen
    assert other.is_frozen


@st.composite
def terms(draw: st.DrawFn, size: int = 12, depth: int = 2) -> Space:
    kind = draw(st.sampled_from(["free", "frozen", "joined", "crossed"]))
    if kind == "joined" and depth and size > 1:
        cut = draw(st.integers(1, size - 1))
        return spaces.joined([draw(terms(cut, depth - 1)), draw(terms(size - cut, depth - 1))])
    if kind == "crossed" and depth:
        outer = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        return spaces.crossed([draw(terms(outer, depth - 1)), draw(terms(size // outer, depth - 1))])
    return spaces.frozen(size) if kind == "frozen" else spaces.free(size)


@settings(max_examples=300, deadline=None)
@given(made=st.lists(terms(), min_size=2, max_size=4), data=st.data())
def test_unified_spaces_move_alike_and_blocks_say_how(made: list[Space], data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(made), st.sampled_from(made)), max_size=4))
    for one, other in pairs:
        spaces.unify(one, other)
    cuts = sorted(data.draw(st.sets(st.integers(1, 11), max_size=2)))
    parts = spaces.split(made[0], cuts)
    assert [part.size for part in parts] == [b - a for a, b in zip([0, *cuts], [*cuts, 12], strict=True)]
    factors = spaces.factored(made[1], [2, 6])
    while sum(spaces.settle(space) for space in [*made, *parts, *factors]):
        pass
    orders: dict[object, torch.Tensor] = {}
    found = [permutation(space, orders) for space in made]
    for one, other in pairs:
        first, second = (next(f for f, m in zip(found, made, strict=True) if m is space) for space in (one, other))
        assert torch.equal(first, second)
    assert torch.equal(permutation(spaces.joined(parts), orders), found[0])
    assert torch.equal(permutation(spaces.crossed(factors), orders), found[1])
    for space, expected in zip(made, found, strict=True):
        assert torch.equal(by_blocks(space, orders), expected)
