"""Places: which numbers of a layout's vector stand in which unit token, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from weightsmith.layout import Layout, TensorSpec
from weightsmith.tokens import TokenMeaning, TokenSpace


@dataclass(frozen=True)
class UnitPlaces:
    """`index[t, d]`: the position in the layout's vector of number d of token t, -1 where the token is padded.

    `slots`: the inverse, where in the flattened tokens each number of the vector stands.
    """

    space: TokenSpace
    index: Int[Tensor, "token dim"]
    slots: Int[Tensor, " parameters"]

    @classmethod
    def of(cls, layout: Layout, width: int | None) -> UnitPlaces:
        """One token a unit, or several of `width` numbers where a unit is longer; without `width`, of the longest unit.

        A unit is an index of the first dimension of the tensors that share it and the module: row of incoming weights
        and bias, or scale, shift and running statistics of a channel. Names and shapes are all that is looked at.
        """
        groups = [[s for s in group if s.numel] for group in _groups(layout)]
        groups = [group for group in groups if group]
        longest = max(sum(_row(spec) for spec in group) for group in groups)
        dim = longest if width is None else min(width, longest)
        meanings: list[TokenMeaning] = []
        parts = []
        for group in groups:
            rows = torch.cat([_positions(layout, spec) for spec in group], dim=1)
            chunks = -(-rows.shape[1] // dim)
            parts.append(F.pad(rows, (0, chunks * dim - rows.shape[1]), value=-1).reshape(-1, dim))
            starts = [_spec_at(group, chunk * dim) for chunk in range(chunks)]
            meanings += [
                TokenMeaning(spec.name, unit, chunk, spec.role)
                for unit in range(len(rows))
                for chunk, spec in enumerate(starts)
            ]
        index = torch.cat(parts)
        valid = index >= 0
        slots = torch.empty(layout.parameters, dtype=torch.long)
        slots[index[valid]] = valid.flatten().nonzero().flatten()
        return cls(TokenSpace(tuple(meanings), valid), index, slots)


def _groups(layout: Layout) -> list[list[TensorSpec]]:
    """Floating tensors of the same module and first dimension, in the order of the layout."""
    found: dict[tuple[str, int | None], list[TensorSpec]] = {}
    for spec in layout.floating:
        found.setdefault((spec.name.rpartition(".")[0], spec.shape[0] if spec.shape else None), []).append(spec)
    return list(found.values())


def _row(spec: TensorSpec) -> int:
    """How many of the tensor's numbers belong to one unit."""
    return spec.numel // spec.shape[0] if spec.shape else 1


def _positions(layout: Layout, spec: TensorSpec) -> Int[Tensor, "unit number"]:
    return torch.arange(*layout.offsets[spec.name]).reshape(-1, _row(spec))


def _spec_at(group: Sequence[TensorSpec], number: int) -> TensorSpec:
    """The tensor that holds this number of a unit."""
    for spec in group[:-1]:
        if number < _row(spec):
            return spec
        number -= _row(spec)
    return group[-1]
