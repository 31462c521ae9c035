"""Pairs: tensors of any size from the codes of the units and the fixed places along their axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from weightsmith.hypernetworks.basis import COLUMNS, amplitudes
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.gains import gains
from weightsmith.hypernetworks.plans import GRID_KINDS, SIDES, AxisPlan, Key, TensorPlan

_SMALL = 1e-12


class _Zero(nn.Module):
    """Zeros in the place of a linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.outputs)


class Pairs(nn.Module):
    """Tensors from codes: each entry a sum over ranks of products of one factor an axis."""

    def __init__(self, dim: int, rank: int, modulated: bool = True) -> None:
        super().__init__()
        self.sides = nn.Parameter(torch.randn(SIDES, dim, rank) / math.sqrt(dim))
        grids = torch.stack([amplitudes(kind) for kind in GRID_KINDS])
        self.grids = nn.Parameter(grids[:, :, None] * torch.randn(len(GRID_KINDS), COLUMNS, rank))
        linear = nn.Linear if modulated else _Zero
        self.modulate_units = linear(dim, SIDES * dim)
        self.modulate_grid = linear(dim, COLUMNS)
        self.modulate_ranks = linear(dim, rank)
        self.gain = nn.Linear(dim, 1)
        for layer in (self.modulate_grid, self.gain):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, blueprint: Blueprint, units: Tensor, tensors: Tensor) -> dict[str, Tensor]:
        rows, grids = self.unit_factors(blueprint, units, tensors), self.grid_factors(blueprint, tensors)
        ranks = 1 + self.modulate_ranks(tensors)
        scales = self.gains(tensors) * blueprint.scales
        found = self._vectors(blueprint, rows, ranks, scales)
        each = zip(blueprint.tensors, ranks.unbind(), scales.unbind(), strict=True)  # one gradient to add up, not many
        for number, (plan, rank, scale) in enumerate(each):
            if number not in found:
                factors = [_factor(axis, rows, grids, (number, i)) for i, axis in enumerate(plan.axes)]
                value = _product(factors, rank, plan).float()
                found[number] = value * (torch.rsqrt(value.square().mean() + _SMALL) * scale)
        return {
            name: plan.base + found[number] if plan.base else found[number]
            for number, plan in enumerate(blueprint.tensors)
            for name in plan.names
        }

    def gains(self, tensors: Tensor) -> Tensor:
        """By how much each tensor, `[tensor, dim]`, is larger than its scale."""
        return gains(self.gain(tensors)[:, 0])

    def unit_factors(self, blueprint: Blueprint, units: Tensor, tensors: Tensor) -> dict[Key, Tensor]:
        """Factors of units along all axes, in one product a side: by tensor, axis and which of its groups."""
        found: dict[Key, Tensor] = {}
        modulation = 1 + self.modulate_units(tensors).unflatten(-1, (SIDES, -1))  # (T, 2, D)
        for side, reading in enumerate(blueprint.readings):
            if reading.keys:
                modulated = modulation[:, side].index_select(0, reading.tensors)
                values = (units.index_select(0, reading.units) * modulated) @ self.sides[side]
                if reading.nobody is not None:
                    values = torch.where(reading.nobody[:, None], 1.0, values)
                found |= dict(zip(reading.keys, values.split(reading.lengths), strict=True))
        return found

    def grid_factors(self, blueprint: Blueprint, tensors: Tensor) -> dict[Key, Tensor]:
        """Factors of fixed places, for all axes on the same grid at once."""
        found: dict[Key, Tensor] = {}
        columns = 1 + self.modulate_grid(tensors)
        for grid, axes in blueprint.on_grids.items():
            basis = axes.basis * columns.index_select(0, axes.tensors)[:, None]
            values = basis @ self.grids[GRID_KINDS.index(grid.kind)]  # (K, P, R)
            found |= dict(zip(axes.keys, values.unbind(), strict=True))
        return found

    def _vectors(
        self, blueprint: Blueprint, rows: dict[Key, Tensor], ranks: Tensor, scales: Tensor
    ) -> dict[int, Tensor]:
        """Biases and other tensors whose only axis runs over units, all at once."""
        vectors = blueprint.vectors
        if not vectors.numbers:
            return {}
        values, at, of = torch.cat([rows[number, 0, 0] for number in vectors.numbers]), vectors.tensors, vectors.of
        flat = (values * ranks.index_select(0, at.index_select(0, of))).sum(-1).float()
        squares = torch.zeros(len(at), device=flat.device).index_add(0, of, flat.square())
        flat = flat * (torch.rsqrt(squares / vectors.counts + _SMALL) * scales.index_select(0, at)).index_select(0, of)
        return dict(zip(vectors.numbers, flat.split(vectors.lengths), strict=True))


def _factor(axis: AxisPlan, rows: dict[Key, Tensor], grids: dict[Key, Tensor], where: tuple[int, int]) -> Tensor | None:
    """`[block or 1, index, rank]`, or `None` for an axis of one index that says nothing."""
    found = None
    for j, index in enumerate(axis.units):
        value = rows[*where, j].unflatten(0, index.shape)
        found = value if found is None else found * value
    if axis.fixed is not None:
        fixed = grids[*where, 0][axis.fixed]
        found = fixed if found is None else found * fixed
    return found


def _product(factors: list[Tensor | None], ranks: Tensor, plan: TensorPlan) -> Tensor:
    """`[*shape]` from one factor an axis, `[block or 1, index, rank]`."""
    first, rest = factors[0] if factors else None, [factor for factor in factors[1:] if factor is not None]
    weighted = ranks[None, None] if first is None else first * ranks
    if not rest:
        return weighted.sum(-1).expand(plan.blocks, -1).reshape(plan.shape)
    inner = rest[0]
    for factor in rest[1:]:
        inner = (inner[:, :, None] * factor[:, None]).flatten(1, 2)
    blocks = max(len(weighted), len(inner))
    return (weighted.expand(blocks, -1, -1) @ inner.expand(blocks, -1, -1).transpose(1, 2)).reshape(plan.shape)
