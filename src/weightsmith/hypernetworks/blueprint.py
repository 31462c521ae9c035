"""A blueprint: what of a parameter graph a hypernetwork reads, as index tensors made once for each architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks.basis import cosine_basis
from weightsmith.hypernetworks.context import reads_averages
from weightsmith.hypernetworks.drafting import Draft, draft
from weightsmith.hypernetworks.plans import (
    SIDES,
    AxisPlan,
    Grid,
    GridAxes,
    Hearing,
    Key,
    Mention,
    Reading,
    TensorPlan,
    Vectors,
    Words,
    carried,
    ranks,
)


@dataclass(frozen=True)
class Blueprint(Draft):
    """All that a hypernetwork reads of an architecture: the draft of its graph, and what follows of it."""

    _elsewhere: dict[torch.device, Blueprint] = field(default_factory=dict, init=False, repr=False, compare=False)

    def on(self, device: torch.device) -> Blueprint:
        """The same with its tensors on that device; they are moved once."""
        if self.space_of.device == device:
            return self
        if device not in self._elsewhere:
            moved = ("space_of", "group_of", "features", "writes", "reads")
            self._elsewhere[device] = replace(
                self,
                tensors=tuple(_tensor_on(plan, device) for plan in self.tensors),
                **{name: getattr(self, name).to(device) for name in moved},
            )
        return self._elsewhere[device]

    def stored(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """What was written, as the module stores it: matrices whose rows are inputs the right way round again."""
        return found | {name: found[name].t() for name in self._turned if name in found}

    def read(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The inverse of `stored`."""
        turned = {name: weights[name].t() for name in self._turned if name in weights and weights[name].ndim == 2}
        return {**weights, **turned} if turned else weights

    @cached_property
    def carried(self) -> tuple[float, ...]:
        """How much of what is drawn anew each tensor can carry; none of what is no matrix or kernel. See `carried`."""
        matrices, averaged = sum(plan.starts for plan in self.tensors), reads_averages(self.features)
        return tuple(carried(plan, matrices, averaged) if plan.starts else 0.0 for plan in self.tensors)

    @cached_property
    def _turned(self) -> tuple[str, ...]:
        return tuple(name for plan in self.tensors if plan.turned for name in plan.names)

    @property
    def units(self) -> int:
        return len(self.space_of)

    @property
    def spaces(self) -> int:
        return len(self.writes)

    @classmethod
    def of(cls, graph: ParameterGraph) -> Blueprint:
        """The blueprint of a graph."""
        return cls(**vars(draft(graph)))

    @cached_property
    def place_in_space(self) -> Tensor:
        """The number of each unit among those of its space, `[unit]`."""
        return ranks(self.space_of.cpu()).to(self.space_of.device)

    @cached_property
    def place_of_group(self) -> Tensor:
        """The number of each group among those of its space, `[group]`."""
        groups = int(self.group_of.max()) + 1 if len(self.group_of) else 0
        space = torch.zeros(groups, dtype=torch.long)
        space[self.group_of.cpu()] = self.space_of.cpu()
        return ranks(space).to(self.space_of.device)

    @cached_property
    def scales(self) -> Tensor:
        """Root mean squares of tensors at a gain of one: by fan-in for what multiplies, small for what is added."""
        return torch.tensor([plan.scale for plan in self.tensors]).to(self.space_of.device)

    @cached_property
    def counts(self) -> Tensor:
        """How many units there are in each space, float32 `[space]`."""
        return torch.bincount(self.space_of, minlength=self.spaces).float()

    @cached_property
    def vectors(self) -> Vectors:
        """The tensors whose only axis runs over one group of units, all of it."""
        numbers = [number for number, plan in enumerate(self.tensors) if plan.is_vector]
        lengths = [math.prod(self.tensors[number].shape) for number in numbers]
        counts = torch.tensor(lengths)
        tables = torch.tensor(numbers).long(), counts.float(), torch.repeat_interleave(counts.long())
        return Vectors(numbers, lengths, *(table.to(self.space_of.device) for table in tables))

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        return tuple(self._reading(side) for side in range(SIDES))

    @cached_property
    def on_grids(self) -> dict[Grid, GridAxes]:
        """The axes that run over the same grid."""
        found: dict[Grid, list[Key]] = {}
        for number, plan in enumerate(self.tensors):
            for i, axis in enumerate(plan.axes):
                if axis.grid is not None:
                    found.setdefault(axis.grid, []).append((number, i, 0))
        device = self.space_of.device
        tensors = {grid: torch.tensor([number for number, *_ in keys]).to(device) for grid, keys in found.items()}
        return {grid: GridAxes(tuple(keys), tensors[grid], cosine_basis(grid, device)) for grid, keys in found.items()}

    @cached_property
    def mentions(self) -> tuple[Mention, ...]:
        """Every mention of units, tensor by tensor."""
        found = []
        for number, plan in enumerate(self.tensors):
            axes = [(i, j, index.flatten()) for i, axis in enumerate(plan.axes) for j, index in enumerate(axis.units)]
            spaces = [frozenset(self.space_of[index[index >= 0]].tolist()) for *_, index in axes]
            for place, (i, j, index) in enumerate(axes):
                inside = index >= 0
                each = math.prod(plan.shape) / (plan.blocks * plan.axes[i].size)
                entries = each * torch.bincount(index[inside], minlength=self.units).float()
                others = frozenset().union(*spaces[:place], *spaces[place + 1 :])
                mask = None if bool(inside.all()) else inside.nonzero()[:, 0]
                found.append(Mention((number, i, j), mask, index[inside], entries, spaces[place], others))
        return tuple(found)

    @cached_property
    def members(self) -> tuple[Tensor, ...]:
        """The units of each space."""
        return tuple((self.space_of == space).nonzero()[:, 0] for space in range(self.spaces))

    @cached_property
    def group_counts(self) -> Tensor:
        """How many units there are in each group, int64 `[group]`."""
        return torch.bincount(self.group_of)

    @cached_property
    def heard_in_order(self) -> tuple[Hearing, ...]:
        """What is heard of the units of each space, while those of the spaces before it are known."""
        return tuple(
            self._hearing([one for one in self.mentions if space in one.spaces], frozenset(range(space)))
            for space in range(self.spaces)
        )

    @cached_property
    def heard(self) -> Hearing:
        """What is heard of all units, while all are known."""
        return self._hearing(self.mentions, frozenset(range(self.spaces)))

    def _hearing(self, mentions: Sequence[Mention], known: frozenset[int]) -> Hearing:
        """A word weighs as the fourth root of how many entries it sums over; while those are not known, as one."""
        device = self.space_of.device
        met = torch.cat([torch.zeros(0, self.units).to(device), *(one.entries[None] for one in mentions)])  # (M, U)
        settled = torch.tensor([one.others <= known for one in mentions], dtype=torch.bool).to(device)
        weights = torch.where(settled[:, None], met**0.25, (met > 0).float())
        tensors = torch.tensor([one.key[0] for one in mentions], dtype=torch.long).to(device)
        sides = tuple(self._words(mentions, side, tensors) for side in range(SIDES))
        return Hearing(tensors, weights, met.clamp_min(1).rsqrt(), sides)

    def _words(self, mentions: Sequence[Mention], side: int, tensors: Tensor) -> Words:
        chosen = [number for number, one in enumerate(mentions) if min(one.key[1], 1) == side]
        none = torch.zeros(0, dtype=torch.long).to(tensors.device)
        units = torch.cat([none, *(mentions[number].units for number in chosen)])
        lengths = torch.tensor([len(mentions[number].units) for number in chosen], dtype=torch.long)
        of = torch.tensor(chosen, dtype=torch.long).repeat_interleave(lengths).to(tensors.device)
        return Words(tuple(mentions[number] for number in chosen), units, tensors[of], of * self.units + units)

    def _reading(self, side: int) -> Reading:
        entries = [
            ((number, i, j), index.flatten())
            for number, plan in enumerate(self.tensors)
            for i, axis in enumerate(plan.axes)
            if min(i, 1) == side
            for j, index in enumerate(axis.units)
        ]
        keys, lengths = tuple(key for key, _ in entries), [len(index) for _, index in entries]
        at = torch.cat([index for _, index in entries] or [torch.zeros(0, dtype=torch.long)])
        of = torch.tensor([number for number, *_ in keys], dtype=torch.long)
        tensors = of.repeat_interleave(torch.tensor(lengths).long()).to(self.space_of.device)
        return Reading(keys, lengths, at.clamp_min(0), tensors, at < 0 if bool((at < 0).any()) else None)


def _tensor_on(plan: TensorPlan, device: torch.device) -> TensorPlan:
    axes = (
        AxisPlan(
            tuple(index.to(device) for index in axis.units),
            None if axis.fixed is None else axis.fixed.to(device),
            axis.grid,
        )
        for axis in plan.axes
    )
    return replace(plan, axes=tuple(axes))
