"""Plans: how the axes of one tensor are indexed by units and by fixed places, and where those are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_ADDED = 0.1
_WIDE, _FEW, _AVERAGED = 256, 4, 0.4  # see `carried`
GRID_KINDS = ("taps", "positions", "sequence", "outputs", "slots")
SIDES = 2  # a unit's code is read in one way on the first axis of a tensor, in another on the others
Key = tuple[int, int, int]  # a tensor, one of its axes, and which of the groups that the axis runs over


@dataclass(frozen=True)
class Grid:
    """Places along an axis that are not interchangeable: a lattice `[height, width]` after `extra` single ones."""

    kind: str
    height: int
    width: int
    extra: int = 0


@dataclass(frozen=True)
class AxisPlan:
    """How one axis of a tensor is indexed, in each of `blocks` blocks of rows.

    `units`: for each of at most a few groups of units that the axis runs over, the unit at every index, int64
    `[block, index]`. `fixed`: where in `grid` every index lies, int64 `[block, index]`.
    """

    units: tuple[Tensor, ...]
    fixed: Tensor | None
    grid: Grid | None

    @property
    def size(self) -> int:
        """How many indices there are in a block; an axis that says nothing has one."""
        indexed = next(iter(self.units), self.fixed)
        return 1 if indexed is None else indexed.shape[1]


@dataclass(frozen=True)
class TensorPlan:
    """One tensor to generate: `names` (more than one when tied), and its axes; the first is cut into `blocks`."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: int
    axes: tuple[AxisPlan, ...]
    fan_in: int
    base: float  # what is added to: 1 for the weights of norms
    thin: bool = False  # a vector but for axes of size one, which is added as a bias is
    turned: bool = False  # a matrix whose rows are inputs, written as one whose rows are units

    @property
    def scale(self) -> float:
        return _ADDED if self.base or self.thin or len(self.shape) <= 1 else 1 / math.sqrt(self.fan_in)

    @property
    def starts(self) -> bool:
        """Whether it is a matrix or a kernel, of which a start, or what is drawn in its place, may keep a share."""
        return len(self.shape) > 1 and not self.base

    @property
    def is_vector(self) -> bool:
        if len(self.shape) != 1 or self.blocks > 1 or self.axes[0].fixed is not None or len(self.axes[0].units) != 1:
            return False
        return bool((self.axes[0].units[0] >= 0).all())


def carried(plan: TensorPlan, matrices: int, averaged: bool) -> float:
    """How much of what is drawn anew a matrix of a network of so many of them can carry, from 0 to 1.

    `min(1, sqrt(fan_in / 256)) min(1, sqrt(4 / matrices))`, and of that 0.4 for a kernel in a network of which a linear
    layer reads averages over places (`averaged`). What a unit reads is a sum over its inputs: the more of them there
    are, the more the written part adds up, and the drawn part does not. It grows from layer to layer, and of what an
    average lets through, it is a larger part.
    """
    share = min(1.0, math.sqrt(plan.fan_in / _WIDE)) * min(1.0, math.sqrt(_FEW / matrices))
    return share * (_AVERAGED if averaged and len(plan.shape) > 2 else 1.0)


@dataclass(frozen=True)
class Reading:
    """All factors of units on one side, end to end: whose code a row reads, for which tensor, or nobody's."""

    keys: tuple[Key, ...]
    lengths: list[int]
    units: Tensor
    tensors: Tensor
    nobody: Tensor | None


@dataclass(frozen=True)
class GridAxes:
    """The axes on one grid, the tensors that they are of, `[axis]`, and the cosine basis of the grid."""

    keys: tuple[Key, ...]
    tensors: Tensor
    basis: Tensor


@dataclass(frozen=True)
class Vectors:
    """The tensors that are one number a unit, end to end.

    `numbers` and `tensors` `[vector]`: which they are; `lengths` and `counts` float32 `[vector]`: of how many numbers;
    `of`: the vector that each number is of.
    """

    numbers: list[int]
    lengths: list[int]
    tensors: Tensor
    counts: Tensor
    of: Tensor


@dataclass(frozen=True)
class Mention:
    """Where one axis of a tensor runs over one of its groups of units.

    `inside`: the indices (of all blocks, end to end) that are units, `None` for all; `units`: theirs. `entries`
    float32 `[unit]`: over how many numbers of the tensor each is met. `spaces`: of these units; `others`: the spaces
    of all other units that the tensor's axes run over.
    """

    key: Key
    inside: Tensor | None
    units: Tensor
    entries: Tensor
    spaces: frozenset[int]
    others: frozenset[int]


@dataclass(frozen=True)
class Words:
    """What mentions on one side say, end to end.

    `units`, `tensors` `[word]`: what each is about, and what says it; `places`: of both in `[mention, unit]`, flat.
    """

    mentions: tuple[Mention, ...]
    units: Tensor
    tensors: Tensor
    places: Tensor


@dataclass(frozen=True)
class Hearing:
    """What is heard of units at once.

    `tensors` `[mention]`; `weights` and `spreads` float32 `[mention, unit]`: how much each mention counts, and one over
    the root of how many entries it sums over; `sides`: the words of each side.
    """

    tensors: Tensor
    weights: Tensor
    spreads: Tensor
    sides: tuple[Words, ...]


def ranks(labels: Tensor) -> Tensor:
    """For each entry how many before it have the same label."""
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    starts = torch.cumsum(counts, 0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels), device=labels.device) - starts.repeat_interleave(counts)
    return ranks
