"""One stored network: a copy, an average or an extrapolation of training checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.generators.baselines.training_tokens import at_least
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import Tokens


class FixedGenerator:
    """Answers with one stored network (tokens of a batch of one), whatever start, accuracy or data set it is asked."""

    understands = frozenset({"start", "accuracy", "dataset"})
    has_likelihood = False

    def __init__(self, stored: Tokens) -> None:
        if len(stored) != 1:
            raise BadInput(f"{len(stored)} networks were given to a generator that holds one", "give one")
        self.stored = stored
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        refuse_unknown_conditions(condition, self.understands, "a stored network")
        return Trajectory((self.stored[[0] * n],))


def copy_of(training: Tokens, index: int) -> FixedGenerator:
    """One training checkpoint, unchanged."""
    return FixedGenerator(training[[index]])


def mean_of(training: Tokens) -> FixedGenerator:
    """The average of training checkpoints."""
    at_least(1, training, "an average")
    return FixedGenerator(training[:1].replace(training.values.mean(dim=0, keepdim=True)))


def extrapolation_of(training: Tokens) -> FixedGenerator:
    """`w_N + (w_N - w_{N-1})`: one more step as the last one. Raises `BadInput` for fewer than two checkpoints."""
    at_least(2, training, "an extrapolation")
    return FixedGenerator(training[:1].replace(2 * training.values[-1:] - training.values[-2:-1]))
