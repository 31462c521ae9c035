"""Denoisers: the networks that diffusion and flow generators train. All share one signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.denoisers.condition_batch import ConditionBatch, ConditionKinds
from weightsmith.denoisers.conditioning import ConditionEmbedding
from weightsmith.denoisers.given import GivenBatch
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DENOISERS, load_entry, nearest
from weightsmith.tokens import TokenSpace

__all__ = ["ConditionBatch", "ConditionEmbedding", "ConditionKinds", "Denoiser", "GivenBatch", "make_denoiser"]


@runtime_checkable
class Denoiser(Protocol):
    """Predicts from noisy tokens what its generator trains it to: noise, clean tokens, v or velocity.

    Every denoiser is an `nn.Module` as well. `conditions` are those it understands, and whoever trains it lets them
    `observe` the training values first; `reads_given` says whether it looks at given numbers.
    """

    space: TokenSpace
    conditions: ConditionEmbedding
    reads_given: bool

    def __call__(
        self,
        x: Float[Tensor, "batch token dim"],
        t: Float[Tensor, " batch"],
        conditions: ConditionBatch | None = None,
        given: GivenBatch | None = None,
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Times in [0, 1]; `mask` is false for padding tokens. Padding comes back as zeros and influences nothing.

        Raises `BadInput` for tokens of another space, and for conditions or given numbers that it does not read.
        """
        ...


def make_denoiser(
    name: str, space: TokenSpace, conditions: ConditionKinds, options: Mapping[str, Any], seed: int
) -> Denoiser:
    """An untrained denoiser of tokens in `space`, by its registered name; `seed` alone gives its initial weights.

    Under `torch.device("meta")` nothing is allocated but small tables: `load_state_dict(..., assign=True)` then makes
    it whole. Raises `BadInput` for an unknown name.
    """
    if name not in DENOISERS:
        known = ", ".join(DENOISERS)
        raise BadInput(f"unknown denoiser {name!r}", f"nearest: {nearest(name, DENOISERS)}; known: {known}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return load_entry(DENOISERS[name])(space, conditions, **options)
