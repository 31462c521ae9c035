"""What of the weights is given already, as tensors: known values, and a flag for each number."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.interfaces import Given


@dataclass(frozen=True)
class GivenBatch:
    """Values `[batch, token, dim]` and which of them are known; a value that is not known is never read."""

    values: Float[Tensor, "batch token dim"]
    known: Bool[Tensor, "batch token dim"]

    @classmethod
    def of(cls, given: Given, n: int) -> GivenBatch:
        """The given parts of one network for all `n` samples, or of one a sample; `BadInput` for another number."""
        values = given.tokens.values
        if len(values) not in (1, n):
            raise BadInput(f"{len(values)} given networks for {n} samples", "give one network, or one a sample")
        known = given.known.to(values.device) & given.tokens.mask[:, :, None]
        return cls(values.expand(n, -1, -1), known.expand(n, -1, -1))
