"""The hypernetwork: noise for every unit of an architecture in, all of its weights out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightsmith.hypernetworks.basis import COLUMNS, amplitudes, cosine_basis
from weightsmith.hypernetworks.blueprint import GRID_KINDS, AxisPlan, Blueprint, TensorPlan
from weightsmith.hypernetworks.context import FEATURES

SIDES = 2  # a unit's code is read in one way where it is written, in another where it is read


@dataclass(frozen=True)
class HypernetworkSizes:
    """`noise`: numbers drawn a unit; `dim` of codes; `rank` of generated tensors; `depth`, `heads` of attention."""

    noise: int = 64
    dim: int = 128
    rank: int = 128
    depth: int = 4
    heads: int = 4
    group_share: float = 0.3


class Hypernetwork(nn.Module):
    """Weights of any architecture, equivariant to permutations of its units by construction.

    Every unit has a code, drawn as noise; all units and tensors attend to each other; the codes are centred and scaled
    over the units of each layer; and entry `(i, j, ...)` of a tensor is `sum_r a_ir b_jr ...`, each factor linear in
    the code of the unit (or in the cosine basis of the fixed place) that an index stands for, modulated by the tensor.
    """

    def __init__(self, sizes: HypernetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        dim = sizes.dim
        self.read = nn.Sequential(nn.Linear(FEATURES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.place = nn.Linear(2 * dim + 1, dim)
        self.noise = nn.Linear(sizes.noise, dim, bias=False)
        self.enter = nn.Linear(dim, 2 * dim)
        self.blocks = nn.ModuleList(Block(dim, sizes.heads) for _ in range(sizes.depth))
        self.leave = nn.LayerNorm(dim)
        self.pairs = Pairs(dim, sizes.rank)

    def draw(self, blueprint: Blueprint, rng: torch.Generator) -> Float[Tensor, "unit noise"]:
        """Standard normal noise for every unit; part of it is shared by the units of a group, so that they are told."""
        own = torch.randn(blueprint.units, self.sizes.noise, generator=rng)
        groups = int(blueprint.group_of.max()) + 1 if blueprint.units else 0
        shared = torch.randn(groups, self.sizes.noise, generator=rng)[blueprint.group_of]
        share = self.sizes.group_share
        return math.sqrt(1 - share) * own + math.sqrt(share) * shared

    def forward(self, blueprint: Blueprint, noise: Float[Tensor, "unit noise"]) -> dict[str, Tensor]:
        """The tensors of the blueprint by name. `noise` need not be normal: it is centred and scaled a layer."""
        units, tensors = self.codes(blueprint, noise)
        return self.pairs(blueprint, units, tensors)

    def codes(self, blueprint: Blueprint, noise: Float[Tensor, "unit noise"]) -> tuple[Tensor, Tensor]:
        """The code of every unit and of every tensor, `[unit, dim]` and `[tensor, dim]`."""
        layers = Layers(blueprint)
        tensors = self.read(blueprint.features)
        size = layers.counts.log2()[:, None] / 4 - 1.5
        places = self.place(torch.cat([blueprint.writes @ tensors, blueprint.reads @ tensors, size], 1))
        scale, shift = self.enter(places).chunk(2, -1)
        units = self.noise(layers.standardised(noise))
        units = units * (1 + scale[blueprint.space_of]) + shift[blueprint.space_of]
        tokens = torch.cat([units, tensors])
        known = torch.cat([places[blueprint.space_of], tensors])
        for block in self.blocks:
            tokens = block(tokens, known)
        tokens = self.leave(tokens)
        return layers.standardised(tokens[: blueprint.units].float()), tokens[blueprint.units :]


class Layers:
    """Means over the units of each space."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._space_of = blueprint.space_of
        self.counts = torch.bincount(blueprint.space_of, minlength=blueprint.spaces).float()

    def means(self, values: Tensor) -> Tensor:
        """`[unit, n]` to the mean over the units of its space, `[unit, n]`."""
        sums = values.new_zeros(len(self.counts), values.shape[1]).index_add(0, self._space_of, values)
        return (sums / self.counts[:, None])[self._space_of]

    def standardised(self, values: Tensor) -> Tensor:
        """Centred and scaled over the units of each space."""
        centred = values - self.means(values)
        return centred * torch.rsqrt(self.means(centred.square()) + 1e-4)


class Block(nn.Module):
    """Attention among all tokens and a perceptron on each, both behind a norm modulated by what is known of a token."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(dim, 4 * dim)
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, tokens: Tensor, known: Tensor) -> Tensor:
        scale1, shift1, scale2, shift2 = self.modulation(F.silu(known)).chunk(4, -1)
        x = self.norm1(tokens) * (1 + scale1) + shift1
        q, k, v = self.qkv(x).reshape(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)[:, None].unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).reshape(len(x), -1)  # (N, H D)
        tokens = tokens + self.out(mixed)
        x = self.norm2(tokens) * (1 + scale2) + shift2
        y: Tensor = tokens + self.down(F.gelu(self.up(x)))
        return y


class Pairs(nn.Module):
    """Tensors from codes: each entry a sum over ranks of products of one factor an axis."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.sides = nn.Parameter(torch.randn(SIDES, dim, rank) / math.sqrt(dim))
        grids = torch.stack([amplitudes(kind) for kind in GRID_KINDS])
        self.grids = nn.Parameter(grids[:, :, None] * torch.randn(len(GRID_KINDS), COLUMNS, rank))
        self.modulate_units = nn.Linear(dim, SIDES * dim)
        self.modulate_grid = nn.Linear(dim, COLUMNS)
        self.modulate_ranks = nn.Linear(dim, rank)
        self.gain = nn.Linear(dim, 1)
        for layer in (self.modulate_grid, self.gain):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, blueprint: Blueprint, units: Tensor, tensors: Tensor) -> dict[str, Tensor]:
        found = {}
        for plan, value, gain in self.written(blueprint, units, tensors):
            value = plan.base + value * (gain * plan.scale)
            for name in plan.names:
                found[name] = value
        return found

    def written(
        self, blueprint: Blueprint, units: Tensor, tensors: Tensor
    ) -> Iterator[tuple[TensorPlan, Tensor, Tensor]]:
        """Each tensor with a root mean square of one, and the gain that it is to have."""
        rows = self.rows(blueprint, units, tensors, range(len(blueprint.tensors)))
        columns, ranks = self.columns(tensors), self.ranks(tensors)
        gains = self.gain(tensors)[:, 0].float()
        for number, plan in enumerate(blueprint.tensors):
            factors = [
                self._factor([rows[number, i, j] for j in range(len(axis.units))], axis, columns[number])
                for i, axis in enumerate(plan.axes)
            ]
            value = _product(factors, ranks[number], plan).float()
            yield plan, value * torch.rsqrt(value.square().mean() + 1e-12), torch.exp(gains[number])

    def rows(
        self, blueprint: Blueprint, units: Tensor, tensors: Tensor, numbers: Sequence[int]
    ) -> dict[tuple[int, int, int], Tensor]:
        """Each axis's factors of its units, `[block, index, rank]`, by tensor (of `numbers`), axis and which groups.

        All in one product a side. Where an index is no unit's they are one.
        """
        found: dict[tuple[int, int, int], Tensor] = {}
        modulation = self.modulation(tensors)
        for side in range(SIDES):
            keys, wanted, of = [], [], []
            for number in numbers:
                for i, axis in enumerate(blueprint.tensors[number].axes):
                    if min(i, 1) == side:
                        for j, index in enumerate(axis.units):
                            keys.append((number, i, j))
                            wanted.append(index)
                            of.append(number)
            if not keys:
                continue
            lengths = [index.numel() for index in wanted]
            at = torch.cat([index.flatten() for index in wanted])
            tensor = torch.tensor(of).repeat_interleave(torch.tensor(lengths))
            values = (units[at.clamp_min(0)] * modulation[tensor, side]) @ self.sides[side]
            if bool((at < 0).any()):
                values = torch.where(at[:, None] < 0, 1.0, values)
            for key, index, value in zip(keys, wanted, values.split(lengths), strict=True):
                found[key] = value.unflatten(0, index.shape)
        return found

    def modulation(self, tensors: Tensor) -> Tensor:
        """How each tensor reads the codes of units, `[tensor, SIDES, dim]`."""
        return 1 + self.modulate_units(tensors).unflatten(-1, (SIDES, -1))

    def columns(self, tensors: Tensor) -> Tensor:
        """How each tensor reads the frequencies of fixed places, `[tensor, COLUMNS]`."""
        return 1 + self.modulate_grid(tensors)

    def ranks(self, tensors: Tensor) -> Tensor:
        """The weight of each rank in each tensor, `[tensor, rank]`."""
        return 1 + self.modulate_ranks(tensors)

    def places(self, axis: AxisPlan, columns: Tensor) -> Tensor | None:
        """The factors of the fixed places along an axis, `[block, index, rank]`."""
        if axis.grid is None or axis.fixed is None:
            return None
        table = (cosine_basis(axis.grid) * columns) @ self.grids[GRID_KINDS.index(axis.grid.kind)]
        return table[axis.fixed]

    def _factor(self, rows: Sequence[Tensor], axis: AxisPlan, columns: Tensor) -> Tensor | None:
        """`[block or 1, index, rank]`, or `None` for an axis of one index that says nothing."""
        found = None
        for value in [*rows, self.places(axis, columns)]:
            if value is not None:
                found = value if found is None else found * value
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
