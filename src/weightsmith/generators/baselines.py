"""Baselines: generators that learn nothing, and stand in every table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Trajectory
from weightsmith.tokens import Tokens


class FixedGenerator:
    """Answers with one stored network, whatever it is asked."""

    understands = frozenset({"start", "accuracy", "dataset"})
    has_likelihood = False

    def __init__(self, vector: Tensor) -> None:
        self.vector = vector
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, *, steps: int = 1) -> Trajectory:
        return Trajectory((Tokens.single(self.vector.expand(n, -1)),))


def copy_of(trajectory: Tokens, index: int) -> FixedGenerator:
    """One training checkpoint, unchanged."""
    return FixedGenerator(trajectory.vectors()[index])


def mean_of(trajectory: Tokens) -> FixedGenerator:
    """The average of training checkpoints."""
    return FixedGenerator(trajectory.vectors().mean(dim=0))


def extrapolation_of(trajectory: Tokens) -> FixedGenerator:
    """`w_N + (w_N - w_{N-1})`: one more step as the last one. Raises `BadInput` for fewer than two checkpoints."""
    vectors = trajectory.vectors()
    if len(vectors) < 2:
        raise BadInput("one checkpoint cannot be extrapolated", "give at least two")
    return FixedGenerator(2 * vectors[-1] - vectors[-2])
