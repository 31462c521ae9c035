"""Training checkpoints with noise added: what a generator must beat to be more than a blurred memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.generators.baselines.training_tokens import at_least, drawn, normal, with_values
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import Tokens


class NoisedCheckpoints:
    """`z = w_i + scale r e`: a training network drawn at random, and normal noise `e`.

    `r` `[token]` is the root mean square of each token over all training networks, so that the noise is relative.
    Numbers that are zero in every training network (padding) stay zero.
    """

    understands: frozenset[str] = frozenset()
    has_likelihood = False

    def __init__(self, training: Tokens, scale: float) -> None:
        at_least(1, training, "a noised copy")
        if not 0 <= scale < float("inf"):
            raise BadInput(f"noise of scale {scale}", "give a finite scale of at least 0")
        self.training, self.scale = training, scale
        used = (training.values != 0).any(dim=0).to(training.values.dtype)
        energy = training.values.square().mean(dim=0).sum(dim=1) / used.sum(dim=1).clamp(min=1)
        self.deviation = scale * energy.sqrt()[:, None] * used
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        refuse_unknown_conditions(condition, self.understands, "a noised copy")
        values = self.training.values[drawn(n, len(self.training), rng).to(self.training.values.device)]
        noise = self.deviation * normal(tuple(values.shape), values, rng)
        return Trajectory((with_values(self.training, values + noise),))


def noise_sweep(
    training: Tokens, scales: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0)
) -> dict[float, NoisedCheckpoints]:
    """One generator a scale: from copies that are as good and not new, to noise that is new and no good."""
    return {scale: NoisedCheckpoints(training, scale) for scale in scales}
