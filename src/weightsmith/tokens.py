"""Tokens: what a codec makes of weights and a generator speaks in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.errors import BadInput


@dataclass(frozen=True)
class TokenMeaning:
    """What one token stands for: a tensor's name (or `*` for the whole network) and the index of a unit in it.

    `chunk`: which part of a unit too long for one token. `role`: the tensor's, as in a layout, or `*`.
    """

    tensor: str
    unit: int | None = None
    chunk: int = 0
    role: str = "*"


WHOLE_NETWORK = TokenMeaning("*")


@dataclass(frozen=True)
class TokenSpace:
    """Where a codec's tokens lie: what each token position stands for, and which of its numbers mean something.

    `valid` is false for the padding of a token that is shorter than `dim`; codecs write zeros there and never read it.
    """

    meanings: tuple[TokenMeaning, ...]
    valid: Bool[Tensor, "token dim"]

    @classmethod
    def single(cls, dim: int) -> TokenSpace:
        """One token of `dim` numbers that stands for the whole network."""
        return cls((WHOLE_NETWORK,), torch.ones(1, dim, dtype=torch.bool))

    @property
    def dim(self) -> int:
        return self.valid.shape[1]

    def __len__(self) -> int:
        return len(self.meanings)

    def tokens(self, values: Float[Tensor, "batch token dim"]) -> Tokens:
        """Values in this space, none of them padding tokens."""
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        return Tokens(values, mask, self.meanings)


@dataclass(frozen=True)
class Tokens:
    """Values `[batch, token, dim]`, a mask `[batch, token]` (true: real, false: padding), and each token's meaning."""

    values: Float[Tensor, "batch token dim"]
    mask: Bool[Tensor, "batch token"]
    meanings: tuple[TokenMeaning, ...]

    def __post_init__(self) -> None:
        batch, token, _ = self.values.shape
        if tuple(self.mask.shape) != (batch, token) or len(self.meanings) != token:
            raise BadInput(
                f"tokens {list(self.values.shape)} do not agree with mask {list(self.mask.shape)} "
                f"and {len(self.meanings)} meanings",
                "give one mask entry a token and one meaning a token position",
            )

    @classmethod
    def single(cls, vectors: Float[Tensor, "batch dim"]) -> Tokens:
        """A flat vector a network is one token that stands for the whole network."""
        mask = torch.ones(vectors.shape[0], 1, dtype=torch.bool, device=vectors.device)
        return cls(vectors[:, None, :], mask, (WHOLE_NETWORK,))

    def vectors(self) -> Float[Tensor, "batch dim"]:
        """The inverse of `single`. Raises `BadInput` when a network has more than one token."""
        if self.values.shape[1] != 1:
            raise BadInput(f"{self.values.shape[1]} tokens a network, one was expected", "use a codec of one token")
        return self.values[:, 0, :]

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, index: slice | Sequence[int]) -> Tokens:
        return Tokens(self.values[index], self.mask[index], self.meanings)

    def replace(self, values: Float[Tensor, "batch token dim"]) -> Tokens:
        """The same mask and meanings with other values."""
        return Tokens(values, self.mask, self.meanings)
