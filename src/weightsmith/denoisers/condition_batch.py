"""What is asked of each sample of a batch, as tensors: which conditions there are, their values, and where absent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from weightsmith.errors import BadInput

Warp = Literal["none", "logit", "log"]
CONTINUOUS = ("accuracy", "loss")
CATEGORICAL = ("dataset", "architecture")


@dataclass(frozen=True)
class ConditionKinds:
    """Which conditions a denoiser is trained with; none by default.

    `continuous`: name -> warp, as `{"accuracy": "logit", "loss": "log"}`; `vocabulary`: name -> the names that it may
    take, as `{"dataset": ["mnist", "digits"]}`. Raises `BadInput` for a condition that does not exist.
    """

    continuous: Mapping[str, Warp] = field(default_factory=dict)
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names, known in ((self.continuous, CONTINUOUS), (self.vocabulary, CATEGORICAL)):
            for name in names:
                if name not in known:
                    kind = "continuous" if known is CONTINUOUS else "categorical"
                    raise BadInput(f"{name!r} is no {kind} condition", f"choose from {', '.join(known)}")
        for name, entries in self.vocabulary.items():
            if not entries or isinstance(entries, str) or len(set(entries)) != len(entries):
                raise BadInput(
                    f"the vocabulary of {name!r} is {entries!r}", "give a list of distinct names, at least one"
                )

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.continuous) | frozenset(self.vocabulary)


@dataclass(frozen=True)
class ConditionBatch:
    """Values `{name: [batch]}` (floats; indices of names) and, for each, where it was asked `{name: [batch]}`.

    A condition that is missing altogether is asked of no sample. Raises `BadInput` when the lengths differ.
    """

    values: Mapping[str, Tensor]
    present: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        lengths = {(value.ndim, len(value)) for value in (*self.values.values(), *self.present.values())}
        if self.values.keys() != self.present.keys() or len(lengths) > 1 or any(ndim != 1 for ndim, _ in lengths):
            shapes = {name: list(value.shape) for name, value in self.values.items()}
            marks = {name: list(value.shape) for name, value in self.present.items()}
            raise BadInput(
                f"condition values {shapes} do not agree with presence {marks}", "give both as [batch], by name"
            )

    @classmethod
    def of(cls, columns: Mapping[str, Shaped[Tensor, " batch"]]) -> ConditionBatch:
        """From one column a condition, in which a value that is NaN or an index below 0 was not asked."""
        asked = {name: ~value.isnan() if value.is_floating_point() else value >= 0 for name, value in columns.items()}
        return cls(dict(columns), asked)

    def dropped(self, drop: Bool[Tensor, " batch"], names: Collection[str] | None = None) -> ConditionBatch:
        """Not asked where `drop` is true: of the conditions in `names`, or of all. For classifier-free guidance.

        (Ho and Salimans 2021, algorithm 1: conditions are left out of training at random.)
        """
        chosen = self.present.keys() if names is None else names
        return ConditionBatch(
            self.values, {name: mark & ~drop if name in chosen else mark for name, mark in self.present.items()}
        )

    def unconditional(self) -> ConditionBatch:
        """The same batch with nothing asked."""
        return ConditionBatch(self.values, {name: torch.zeros_like(mark) for name, mark in self.present.items()})

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> ConditionBatch:
        return ConditionBatch(
            {name: value[index] for name, value in self.values.items()},
            {name: mark[index] for name, mark in self.present.items()},
        )

    def to(self, device: torch.device | str) -> ConditionBatch:
        return ConditionBatch(
            {name: value.to(device) for name, value in self.values.items()},
            {name: mark.to(device) for name, mark in self.present.items()},
        )
