"""The basis in which a hypernetwork sees fixed places: cosines over a grid, the same for grids of any size."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from weightsmith.hypernetworks.plans import Grid

SIDE = 12  # frequencies along each axis of a lattice; along a line SIDE**2
COLUMNS = SIDE**2 + 1  # the last one for places outside the lattice


_CPU = torch.device("cpu")


@lru_cache(maxsize=512)
def cosine_basis(grid: Grid, device: torch.device = _CPU) -> Tensor:
    """`B[(y, x), (f, g)] = c_f cos(pi f (y + 1/2) / h) c_g cos(pi g (x + 1/2) / w)`, float32 `[place, COLUMNS]`.

    `c_0 = 1`, other `c = sqrt(2)`: columns are orthogonal, and a row's squares sum to one on average. Frequencies that
    a grid cannot tell apart are zero. On a line of `w` places there are `min(w, SIDE**2)` of them. Places outside the
    lattice stand first.
    """
    if device != _CPU:
        return cosine_basis(grid).to(device)
    found = torch.zeros(grid.extra + grid.height * grid.width, COLUMNS)
    if grid.height == 1:
        line = _cosines(grid.width, SIDE**2)
        found[grid.extra :, : line.shape[1]] = line
    else:
        rows, columns = _cosines(grid.height, SIDE), _cosines(grid.width, SIDE)
        block = torch.zeros(grid.height, grid.width, SIDE, SIDE)
        block[:, :, : rows.shape[1], : columns.shape[1]] = torch.einsum("yf,xg->yxfg", rows, columns)
        found[grid.extra :, :-1] = block.flatten(2).flatten(0, 1)
    found[: grid.extra, -1] = math.sqrt(SIDE)
    return found / math.sqrt(min(grid.height, SIDE) * min(grid.width, SIDE if grid.height > 1 else SIDE**2))


def _cosines(size: int, most: int) -> Tensor:
    place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    frequency = torch.arange(min(size, most))
    scale = torch.where(frequency == 0, 1.0, math.sqrt(2))
    return (torch.cos(math.pi * place[:, None] * frequency) * scale).float()


def amplitudes(kind: str) -> Tensor:
    """How strongly each frequency enters at the start, `[COLUMNS]`: smooth over positions, evenly elsewhere."""
    index = torch.arange(SIDE**2)
    if kind == "positions":
        radius = torch.hypot((index // SIDE).float(), (index % SIDE).float())
    elif kind == "sequence":
        radius = index.float()
    else:
        radius = torch.zeros(SIDE**2)
    return torch.cat([1 / (1 + radius / 4), torch.ones(1)])
