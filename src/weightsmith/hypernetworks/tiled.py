"""A tiled graph hypernetwork: one embedding a tensor, decoded to a tile of fixed size that is repeated or cut.

The form of GHN (Zhang et al. 2019, arXiv 1810.05749), GHN-2 (Knyazev et al. 2021, arXiv 2110.13100) and GHN-3 (2023,
arXiv 2303.04143), as the baseline that all others of this field are: it knows layers and no units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightsmith.hypernetworks.basis import COLUMNS, amplitudes, cosine_basis
from weightsmith.hypernetworks.block import Block
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.context import FEATURES
from weightsmith.hypernetworks.gains import gains
from weightsmith.hypernetworks.plans import GRID_KINDS, SIDES, AxisPlan, TensorPlan


@dataclass(frozen=True)
class TiledSizes:
    """`dim` of embeddings, `depth` rounds of messages with attention of so many `heads`; `hidden` units of the decoder.

    `tile`: how many units a tile has along either of its sides.
    """

    dim: int = 128
    depth: int = 4
    heads: int = 4
    hidden: int = 128
    tile: int = 64


class TiledHypernetwork(nn.Module):
    """Weights of any architecture from its graph alone: no noise, one network an architecture.

    Tensors exchange messages along the graph and attend to each other. A perceptron gives each a tile
    `[unit, unit, frequency]`: unit `i` of a layer reads row `i mod tile`, and fixed places (taps, and with more
    sense than published tiles show also pixels, positions after a flatten and classes) are in the cosine basis. A
    tensor is brought to the fan-in scale, with a learned gain.
    """

    def __init__(self, sizes: TiledSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.read = nn.Sequential(nn.Linear(FEATURES, sizes.dim), nn.SiLU(), nn.Linear(sizes.dim, sizes.dim))
        self.messages = nn.ModuleList(nn.Linear(2 * sizes.dim, sizes.dim) for _ in range(sizes.depth))
        self.blocks = nn.ModuleList(Block(sizes.dim, sizes.heads) for _ in range(sizes.depth))
        self.leave = nn.LayerNorm(sizes.dim)
        self.tiles = Tiles(sizes.dim, sizes.hidden, sizes.tile)

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and those that it writes."""
        return self.tiles.last.device

    def forward(self, blueprint: Blueprint) -> dict[str, Tensor]:
        """The tensors of the blueprint by name."""
        blueprint = blueprint.on(self.device)
        embeddings = self.embeddings(blueprint)
        found = {}
        for plan, embedding in zip(blueprint.tensors, embeddings, strict=True):
            value = self.tiles(plan, embedding)
            for name in plan.names:
                found[name] = value
        return found

    def embeddings(self, blueprint: Blueprint) -> Float[Tensor, "tensor dim"]:
        """What each tensor is and what stands around it; messages go with the graph and against it."""
        known = self.read(blueprint.features)
        with_it = blueprint.reads.T @ blueprint.writes  # from the writers of a layer to its readers
        against_it = blueprint.writes.T @ blueprint.reads
        tokens = known
        for message, block in zip(self.messages, self.blocks, strict=True):
            around = torch.cat([with_it @ tokens, against_it @ tokens], 1)
            tokens = block(tokens + message(F.silu(around)), known)
        found: Tensor = self.leave(tokens)
        return found


class Tiles(nn.Module):
    """Embeddings to tensors, through tiles in the cosine basis."""

    def __init__(self, dim: int, hidden: int, tile: int) -> None:
        super().__init__()
        self.tile = tile
        self.body = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.frequencies = nn.Parameter(torch.randn(SIDES, len(GRID_KINDS), COLUMNS, hidden))
        self.last = nn.Parameter(torch.randn(tile, tile, hidden) / math.sqrt(hidden))
        self.gain = nn.Linear(dim, 1)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, plan: TensorPlan, embedding: Tensor) -> Tensor:
        """One tensor, with the root mean square of its scale times its gain."""
        value = spread(plan, self._tile(plan, embedding), self.tile).float()
        value = value * torch.rsqrt(value.square().mean() + 1e-12)
        return plan.base + value * (gains(self.gain(embedding)[0]) * plan.scale)

    def _tile(self, plan: TensorPlan, embedding: Tensor) -> Tensor:
        """`[row, column, *places of each axis with fixed ones]`, as many rows and columns as the tensor can use."""
        rows, columns = used(plan, self.tile)
        state = self.body(embedding)  # (hidden)
        grids = [(min(i, 1), axis.grid) for i, axis in enumerate(plan.axes) if axis.grid is not None]
        tables = []
        for side, grid in grids:
            basis, kind = cosine_basis(grid, state.device), GRID_KINDS.index(grid.kind)
            heard = basis.abs().sum(0) > 0  # the frequencies that the grid can tell apart
            state = state[..., None, :] + self.frequencies[side, kind, heard]
            tables.append(basis[:, heard] * amplitudes(grid.kind).to(state.device)[heard])
        state = F.silu(state)
        tile = torch.einsum("uvh,...h->uv...", self.last[:rows, :columns], state)
        for table in tables:
            tile = torch.tensordot(tile, table, ([2], [1]))  # the first of the frequencies becomes the last place
        return tile


def used(plan: TensorPlan, tile: int) -> tuple[int, int]:
    """How many rows and columns of a tile a tensor reads."""
    sides = [1, 1]
    for i, axis in enumerate(plan.axes):
        sides[min(i, 1)] = max(sides[min(i, 1)], int(ordinals(axis).max()) + 1)
    return min(sides[0], tile), min(sides[1], tile)


def spread(plan: TensorPlan, tile: Tensor, size: int) -> Tensor:
    """`W[i, j, ...] = tile[i's unit mod size, j's unit mod size, places ...]`, of the tensor's shape."""
    at: list[Tensor] = [torch.zeros(1, dtype=torch.long, device=tile.device)] * 2
    places = []
    for i, axis in enumerate(plan.axes):
        shape = [-1, *(axis.size if k == i else 1 for k in range(len(plan.axes)))]
        if axis.units:
            at[min(i, 1)] = at[min(i, 1)] + (ordinals(axis) % size).reshape(shape)
        if axis.fixed is not None:
            places.append(axis.fixed.reshape(shape))
    return tile[at[0], at[1], *places].expand(plan.blocks, *(axis.size for axis in plan.axes)).reshape(plan.shape)


def ordinals(axis: AxisPlan) -> Tensor:
    """The number of the unit at each index, among those along the axis, `[block, index]`."""
    if not axis.units:
        return torch.zeros(1, axis.size, dtype=torch.long)
    units = torch.stack(axis.units, -1)
    _, found = torch.unique(units.flatten(0, 1), dim=0, return_inverse=True)
    return found.reshape(units.shape[:-1])
