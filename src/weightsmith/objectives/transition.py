"""Transition regression: predict the weights of epoch N + 1 from those of epoch N."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.interfaces import Generator, LossRecord
from weightsmith.tokens import Tokens


def transition_pairs(trajectory: Tokens) -> dict[str, Tensor]:
    """The (epoch N, epoch N + 1) pairs of one run: `now` and `next` `[pair, dim]`, `time` `[pair]` = N.

    Raises `BadInput` for fewer than two checkpoints.
    """
    vectors = trajectory.vectors()
    if len(vectors) < 2:
        raise BadInput(f"{len(vectors)} checkpoint has no transition", "capture at least one epoch after the start")
    time = torch.arange(len(vectors) - 1, dtype=vectors.dtype)
    return {"now": vectors[:-1], "next": vectors[1:], "time": time}


def transition_loss(generator: Generator, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
    """Mean squared error over batch and dimensions, `mean |f(z_N, N) - z_{N+1}|^2`, as in the note."""
    loss = F.mse_loss(generator.network(batch["now"], batch["time"]), batch["next"])
    return LossRecord(loss, {})
