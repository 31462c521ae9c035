"""The encoder of units: weights of any architecture in, a code for each of its units out.

It is the adjoint of the decoder of pairs. There entry `(i, j, ...)` of a tensor is `sum_r a_ir b_jr ...`; here a tensor
is contracted with the factors of all of its axes but one, `c_ir = sum_j... W_ij... b_jr ...`, and each unit collects
what the tensors say of it. So codes move with the units when these are permuted, and no width or depth is built in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.context import FEATURES
from weightsmith.hypernetworks.contraction import Contraction
from weightsmith.hypernetworks.network import Layers
from weightsmith.hypernetworks.pairs import Pairs

_STEPS = 6  # in which a singular value grows up to eleven times


class Encoded(NamedTuple):
    """A code for each unit, and each tensor contracted with the codes of all its axes."""

    units: Float[Tensor, "unit dim"]
    tensors: Float[Tensor, "tensor rank"]


class UnitEncoder(nn.Module):
    """Codes of units from weights, equivariant to permutations of the units within their groups.

    Layers are first met from the input on: there a unit is known by what it does with the fixed places (pixels, taps,
    classes) and with the layers met before it. In each further one of `rounds` everything is known. Codes are centred
    and scaled over the units of a layer and nearly orthogonal, as a hypernetwork's noise is, in whose place they can
    stand; `group_share` of them is common to the units of a group.
    """

    def __init__(self, dim: int = 64, rank: int = 64, rounds: int = 2, group_share: float = 0.3) -> None:
        super().__init__()
        self.rounds, self.group_share = rounds, group_share
        self.read = nn.Sequential(nn.Linear(FEATURES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.pairs = Pairs(dim, rank)

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and the codes."""
        return self.pairs.sides.device

    def forward(self, blueprint: Blueprint, weights: Mapping[str, Tensor]) -> Float[Tensor, "unit dim"]:
        """The code of every unit of `weights`, tensors of the blueprint by name (others are not looked at).

        Raises `BadInput` for a tensor that is missing or of another shape.
        """
        values, blueprint = standardised(blueprint, weights), blueprint.on(self.device)
        contract = self._contraction(blueprint, [value.to(self.device) for value in values], None)
        return self._with_groups(blueprint, Layers(blueprint), self._units(blueprint, contract))

    def encode(self, blueprint: Blueprint, values: Sequence[Tensor], told: Tensor | None = None) -> Encoded:
        """The same of one standardised value a tensor; `told` `[tensor, dim]` is added to what is read of each."""
        blueprint = blueprint.on(self.device)
        contract = self._contraction(blueprint, values, told)
        units = self._units(blueprint, contract)
        return Encoded(self._with_groups(blueprint, Layers(blueprint), units), contract.tensors(units))

    def _contraction(self, blueprint: Blueprint, values: Sequence[Tensor], told: Tensor | None) -> Contraction:
        tensors = self.read(blueprint.features)
        return Contraction(self.pairs, blueprint, values, tensors if told is None else tensors + told)

    def _units(self, blueprint: Blueprint, contract: Contraction) -> Tensor:
        """The codes before any is shared."""
        layers = Layers(blueprint)
        units = blueprint.features.new_zeros(blueprint.units, self.pairs.sides.shape[1])
        for space, members in enumerate(blueprint.members):
            found = layers.standardised(contract.space(space, units))
            units = units.index_copy(0, members, _told_apart(found.index_select(0, members)))
        for _ in range(self.rounds - 1):
            found = layers.standardised(contract.everywhere(units))
            for members in blueprint.members:
                units = units.index_copy(0, members, _told_apart(found.index_select(0, members)))
        return units

    def _with_groups(self, blueprint: Blueprint, layers: Layers, units: Tensor) -> Tensor:
        """Part of each code is shared by the units of its group; where a layer is one group nothing changes."""
        groups, counts = blueprint.group_of, blueprint.group_counts
        sums = units.new_zeros(len(counts), units.shape[1]).index_add(0, groups, units)
        shared = (sums / counts.sqrt()[:, None]).index_select(0, groups)
        mixed = math.sqrt(1 - self.group_share) * units + math.sqrt(self.group_share) * shared
        return layers.standardised(mixed)


def _told_apart(codes: Tensor) -> Tensor:
    """Codes of the units of one layer made nearly orthogonal, no unit before another.

    `x <- (3 x - x x^T x) / 2` goes to the polar factor of x, the nearest to x (Higham 2008, equation 8.20). Products
    with the weights of many layers leave codes nearly parallel, and so do the few taps of a first convolution.
    """
    x = codes * torch.rsqrt(codes.square().sum() + 1e-12)
    for _ in range(_STEPS):
        x = 1.5 * x - 0.5 * (x @ (x.T @ x))
    return x * torch.rsqrt(x.square().mean() + 1e-12)


def standardised(blueprint: Blueprint, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """`(W - base) / scale` for every tensor of the blueprint: of order one at the usual initialisation.

    Raises `BadInput` for a tensor that is missing or of another shape.
    """
    found = []
    for plan in blueprint.tensors:
        value = weights.get(plan.names[0])
        if value is None:
            raise BadInput(f"tensor {plan.names[0]!r} is missing", "give the weights of the architecture's blueprint")
        if tuple(value.shape) != plan.shape:
            shapes = f"{list(value.shape)}, not {list(plan.shape)}"
            raise BadInput(f"tensor {plan.names[0]!r} is {shapes}", "give the weights of the architecture's blueprint")
        found.append((value.float() - plan.base) / plan.scale)
    return found
