"""The hypernetwork: noise for every unit of an architecture in, all of its weights out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.hypernetworks.block import Block
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.context import FEATURES
from weightsmith.hypernetworks.pairs import Pairs

_SMALL = 1e-12
TABLE = 2048  # rows of codes that are the same for all networks: half for units of a layer, half for its groups


@dataclass(frozen=True)
class HypernetworkSizes:
    """`noise`: numbers drawn a unit; `dim` of codes; `rank` of generated tensors; `depth` of blocks, `heads` of theirs.

    `context`: blocks of attention among the tensors, before units are told of them. `group_share`: of the noise, common
    to the units of a group; `fixed_share`: of its variance, the same for all networks (see `mixed`); `start_share`: of
    what is written, the start itself (see `joined`), or, at most, numbers drawn anew (see `carried`). The rest adds or
    takes away a part, to see what it is for: `attention` among all units; `standardised` codes of units, over the units
    of a layer; `modulated` tensors, each of which reads codes in its way.
    """

    noise: int = 64
    dim: int = 128
    rank: int = 320
    depth: int = 4
    heads: int = 4
    context: int = 2
    group_share: float = 0.3
    fixed_share: float = 0.0
    start_share: float = 0.0
    attention: bool = False
    standardised: bool = True
    modulated: bool = True


class Drawn(NamedTuple):
    """All that is random of a network: normal numbers of units, of groups of them and of entries; blurred features.

    `features` are those of the blueprint where they are not blurred; `entries`, of all matrices and kernels, are none
    where what is written has no share of them.
    """

    units: Float[Tensor, "unit noise"]
    groups: Float[Tensor, "group noise"]
    features: Float[Tensor, "tensor features"]
    entries: Float[Tensor, " entry"]


def joined(written: Tensor, start: Tensor, share: float) -> Tensor:
    """`r (sqrt(1 - s^2) H / rms(H) + s start / rms(start))` with `H` what is written, and `r` its root mean square."""
    scale = (written.square().mean() + _SMALL).sqrt()
    direction = start * torch.rsqrt(start.square().mean() + _SMALL)
    return math.sqrt(1 - share**2) * written + share * scale * direction


class Hypernetwork(nn.Module):
    """Weights of any architecture, equivariant to permutations of its units by construction.

    Tensors attend to each other, to know of the whole graph; every unit has a code, drawn as noise and changed by what
    is known of the tensors that write and read it; the codes are centred and scaled over the units of each layer; and
    entry `(i, j, ...)` of a tensor is `sum_r a_ir b_jr ...`, each factor linear in the code of the unit (or in the
    cosine basis of the fixed place) that an index stands for, modulated by the tensor.
    """

    table: Tensor

    def __init__(self, sizes: HypernetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        dim = sizes.dim
        self.read = nn.Sequential(nn.Linear(FEATURES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.context = nn.ModuleList(Block(dim, sizes.heads) for _ in range(sizes.context))
        self.place = nn.Linear(2 * dim + 1, dim)
        self.register_buffer("table", torch.randn(TABLE, sizes.noise, generator=torch.Generator().manual_seed(5)))
        self.noise = nn.Linear(sizes.noise, dim, bias=False)
        self.enter = nn.Linear(dim, 2 * dim)
        self.blocks = nn.ModuleList(Block(dim, sizes.heads, sizes.attention) for _ in range(sizes.depth))
        self.leave = nn.LayerNorm(dim)
        self.pairs = Pairs(dim, sizes.rank, sizes.modulated)

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and those that it writes."""
        return self.noise.weight.device

    def normal(self, blueprint: Blueprint, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Standard normal numbers, `[unit, noise]` and `[group, noise]`, where the hypernetwork lies."""
        counts, noise = (blueprint.units, len(blueprint.place_of_group)), self.sizes.noise
        one, other = (torch.randn(count, noise, generator=rng, device=rng.device) for count in counts)
        return one.to(self.device), other.to(self.device)

    def entries(self, blueprint: Blueprint, rng: torch.Generator) -> Float[Tensor, " entry"]:
        """A standard normal number for every entry of matrices and kernels; none where these have no share of them."""
        plans = [plan for plan in blueprint.tensors if plan.starts and self.sizes.start_share]
        count = sum(math.prod(plan.shape) for plan in plans)
        return torch.randn(count, generator=rng, device=rng.device).to(self.device)

    def with_entries(
        self, blueprint: Blueprint, written: dict[str, Tensor], entries: Float[Tensor, " entry"]
    ) -> dict[str, Tensor]:
        """What is written, with a share of these numbers in every matrix and kernel, each as much as it can carry."""
        if not len(entries):
            return written
        found, first = dict(written), 0
        for plan, carried in zip(blueprint.tensors, blueprint.carried, strict=True):
            if plan.starts:
                last = first + math.prod(plan.shape)
                drawn = entries[first:last].view(plan.shape)
                value = joined(written[plan.names[0]], drawn, self.sizes.start_share * carried)
                found, first = found | dict.fromkeys(plan.names, value), last
        return found

    def mixed(self, blueprint: Blueprint, units: Tensor, groups: Tensor) -> Float[Tensor, "unit noise"]:
        """Noise for every unit; part of it is shared by the units of a group, so that they are told apart.

        A share of its variance is that of a table which is the same for all networks: with all of it, networks of one
        architecture are the same; with none, they have nothing in common.
        """
        blueprint = blueprint.on(self.device)
        units = self._with_table(units, blueprint.place_in_space, 0)
        groups = self._with_table(groups, blueprint.place_of_group, TABLE // 2)
        share = self.sizes.group_share
        return math.sqrt(1 - share) * units + math.sqrt(share) * groups[blueprint.group_of]

    def _with_table(self, own: Tensor, places: Tensor, first: int) -> Tensor:
        """Noise `[place, noise]` of which a share is the table's, in rows from `first` on."""
        fixed, rows = self.sizes.fixed_share, self.table[first + places % (TABLE // 2)].float()
        return math.sqrt(fixed) * rows + math.sqrt(1 - fixed) * own

    def forward(
        self, blueprint: Blueprint, noise: Float[Tensor, "unit noise"], features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The tensors of the blueprint by name. `noise` need not be normal: it is centred and scaled a layer.

        `features` stand in place of the blueprint's own, as where training blurs them.
        """
        blueprint = blueprint.on(self.device)
        units, tensors = self.codes(blueprint, noise, features=features)
        return self.pairs(blueprint, units, tensors)

    def codes(
        self,
        blueprint: Blueprint,
        noise: Float[Tensor, "unit noise"],
        told: Tensor | None = None,
        features: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The code of every unit and of every tensor, `[unit, dim]` and `[tensor, dim]`.

        `told` `[tensor, dim]`: what else is known of each tensor, added to what the blueprint says.
        """
        blueprint = blueprint.on(self.device)
        layers = Layers(blueprint)
        tensors = self.read(blueprint.features if features is None else features)
        alone = tensors = tensors if told is None else tensors + told
        for block in self.context:
            tensors = block(tensors, alone)
        size = layers.counts.log2()[:, None] / 4 - 1.5
        places = self.place(torch.cat([blueprint.writes @ tensors, blueprint.reads @ tensors, size], 1))
        scale, shift = self.enter(places).chunk(2, -1)
        units = self.noise(layers.standardised(noise))
        # Not scale[...]: the gradient of an index is slower than that of index_select.
        units = units * (1 + scale.index_select(0, blueprint.space_of)) + shift.index_select(0, blueprint.space_of)
        tokens = torch.cat([units, tensors])
        known = torch.cat([places, tensors])
        of = torch.cat([blueprint.space_of, len(places) + torch.arange(len(tensors), device=tokens.device)])
        for block in self.blocks:
            tokens = block(tokens, known, of)
        tokens = self.leave(tokens)
        units = tokens[: blueprint.units].float()
        return layers.standardised(units) if self.sizes.standardised else units, tokens[blueprint.units :]


class Layers:
    """Means over the units of each space."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._space_of, self.counts = blueprint.space_of, blueprint.counts

    def means(self, values: Tensor) -> Tensor:
        """`[unit, n]` to the mean over the units of its space, `[unit, n]`."""
        sums = values.new_zeros(len(self.counts), values.shape[1]).index_add(0, self._space_of, values)
        return (sums / self.counts[:, None]).index_select(0, self._space_of)

    def standardised(self, values: Tensor) -> Tensor:
        """Centred and scaled over the units of each space."""
        centred = values - self.means(values)
        return centred * torch.rsqrt(self.means(centred.square()) + 1e-4)
