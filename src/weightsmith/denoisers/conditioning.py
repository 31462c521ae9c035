"""Conditions as one vector: what is asked of a sample, embedded and added up, with a learned null for 'not asked'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from weightsmith.denoisers.condition_batch import CATEGORICAL, CONTINUOUS, ConditionBatch, ConditionKinds
from weightsmith.denoisers.continuous import ContinuousCondition
from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition
from weightsmith.settings.registry import nearest


class CategoricalCondition(nn.Module):
    """One learned vector a name of the vocabulary, and one more, the last, for 'not asked'."""

    def __init__(self, name: str, width: int, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.name, self.vocabulary = name, tuple(vocabulary)
        self.table = nn.Embedding(len(self.vocabulary) + 1, width)
        nn.init.normal_(self.table.weight, std=0.2)

    def forward(self, values: Int[Tensor, " batch"], present: Bool[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        return self.table(torch.where(present, values, len(self.vocabulary)))

    @property
    def null(self) -> Float[Tensor, " width"]:
        return self.table.weight[-1]

    def index(self, entry: str) -> int:
        """Where a name stands in the vocabulary. Raises `BadInput` with the known names for another."""
        if entry not in self.vocabulary:
            near = nearest(entry, self.vocabulary)
            hint = f"did you mean {near!r}? " if near else ""
            raise BadInput(f"unknown {self.name} {entry!r}", f"{hint}known: {', '.join(self.vocabulary)}")
        return self.vocabulary.index(entry)


class ConditionEmbedding(nn.Module):
    """`c = sum_k c_k(value_k)`, with `c_k = null_k` for every condition k that a sample is not asked: `[batch, width]`.

    A sample of which nothing is asked gets the sum of the nulls, whether its conditions were dropped, are missing from
    the batch, or no batch was given. A module of no conditions gives zeros.
    """

    def __init__(self, width: int, kinds: ConditionKinds) -> None:
        super().__init__()
        self.width = width
        self.continuous = nn.ModuleDict({n: ContinuousCondition(n, width, w) for n, w in kinds.continuous.items()})
        self.categorical = nn.ModuleDict({n: CategoricalCondition(n, width, v) for n, v in kinds.vocabulary.items()})

    @property
    def names(self) -> frozenset[str]:
        """The conditions it understands."""
        return frozenset(self.continuous) | frozenset(self.categorical)

    def forward(self, conditions: ConditionBatch | None, like: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """The vector of each sample; `like` (the times) says how many there are, and where.

        Raises `BadInput` for a condition that it was not made for.
        """
        self._require_known(() if conditions is None else tuple(conditions.values))
        total = like.new_zeros(len(like), self.width, dtype=torch.float32)
        for name, module in self._parts():
            if conditions is None or name not in conditions.values:
                total = total + module.null
            else:
                total = total + module(conditions.values[name], conditions.present[name])
        return total

    def observe(self, columns: Mapping[str, Float[Tensor, " value"]]) -> None:
        """Take the ranges of the continuous conditions from training values. Raises `BadInput` where one is missing."""
        for name in self.continuous:
            if name not in columns:
                raise BadInput(f"no training values of {name}", f"give them, or do not train with {name}")
            self._continuous(name).observe(columns[name])

    def columns(self, values: Mapping[str, Tensor | Sequence[str | None]]) -> dict[str, Tensor]:
        """Training values as `ConditionBatch.of` reads them: names become indices, None (not stated) becomes -1."""
        self._require_known(tuple(values))
        return {
            name: value if isinstance(value, Tensor) else torch.tensor([self._index(name, entry) for entry in value])
            for name, value in values.items()
        }

    def batch(self, condition: Condition, n: int) -> ConditionBatch:
        """What `condition` asks of each of `n` samples; its tokens (`start`, `given`) are not looked at.

        Raises `BadInput` for a condition that it was not made for, an unknown name (with the known ones), a number of
        wishes other than 1 or `n`, and a wish further outside the trained range than 5 % of it; warns within these.
        """
        asked = condition.asked() & {*CONTINUOUS, *CATEGORICAL}
        self._require_known(tuple(sorted(asked)))
        columns = {}
        for name in sorted(asked):
            value = getattr(condition, name)
            if name in self.continuous:
                columns[name] = self._wishes(name, value, n)
            else:
                columns[name] = torch.full((n,), self._index(name, value), device=self._device())
        return ConditionBatch(columns, {name: torch.ones_like(v, dtype=torch.bool) for name, v in columns.items()})

    def _wishes(self, name: str, value: float | Tensor, n: int) -> Tensor:
        wishes = torch.as_tensor(value, dtype=torch.float32, device=self._device()).reshape(-1)
        if len(wishes) not in (1, n):
            raise BadInput(f"{len(wishes)} values of {name} for {n} samples", "give one value, or one a sample")
        self._continuous(name).check(wishes)
        return wishes.expand(n)

    def _index(self, name: str, entry: str | None) -> int:
        return -1 if entry is None else cast(CategoricalCondition, self.categorical[name]).index(entry)

    def _parts(self) -> list[tuple[str, ContinuousCondition | CategoricalCondition]]:
        parts = (*self.continuous.items(), *self.categorical.items())
        return cast("list[tuple[str, ContinuousCondition | CategoricalCondition]]", list(parts))

    def _continuous(self, name: str) -> ContinuousCondition:
        return cast(ContinuousCondition, self.continuous[name])

    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _require_known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.names:
                known = ", ".join(sorted(self.names)) or "no condition"
                raise BadInput(f"this network was not trained with {name!r}", f"leave it out; it understands {known}")
