"""Averages and interpolations of two training networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.generators.baselines.training_tokens import at_least, drawn, with_values
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import Tokens

Align = Callable[[Tokens, Tokens], Tokens]


class PairBlend:
    """`z = (1 - t) w_i + t w_j` of two different training networks drawn at random.

    `position` is `t`: 0.5 gives averages; `None` draws it uniformly from 0 to 1. `align` puts the units of its first
    argument (one network a sample) in the order of the second's; without it the tokens are taken to be aligned already,
    as those of networks that were canonicalised before they were encoded are.
    """

    understands: frozenset[str] = frozenset()
    has_likelihood = False

    def __init__(self, training: Tokens, position: float | None = 0.5, align: Align | None = None) -> None:
        at_least(2, training, "a blend")
        if position is not None and not 0 <= position <= 1:
            raise BadInput(f"position {position} between two networks", "give a fraction, or None for a random one")
        self.training, self.position, self.align = training, position, align
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        refuse_unknown_conditions(condition, self.understands, "a blend")
        count, device = len(self.training), self.training.values.device
        first = drawn(n, count, rng)
        second = (first + 1 + drawn(n, count - 1, rng)) % count
        position = torch.rand(n, generator=rng, device=rng.device)
        if self.position is not None:
            position = torch.full_like(position, self.position)
        start, end = self.training[first.tolist()], self.training[second.tolist()]
        if self.align is not None and n:
            end = self.align(end, start)
        t = position.to(device, start.values.dtype)[:, None, None]
        return Trajectory((with_values(self.training, torch.lerp(start.values, end.values, t)),))
