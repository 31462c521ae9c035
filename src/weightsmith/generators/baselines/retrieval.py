"""Retrieval: the training checkpoint that does best, or that has the wanted accuracy, unchanged."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import Tokens


class Retrieval:
    """Answers with the training network of the highest accuracy, or of the accuracy nearest to the one asked for.

    `accuracies` are those on validation images; what a report shows may not choose. One that is not finite never wins.
    """

    understands = frozenset({"accuracy"})
    has_likelihood = False

    def __init__(self, training: Tokens, accuracies: Float[Tensor, " training"]) -> None:
        if len(training) != len(accuracies) or not bool(torch.isfinite(accuracies).any()):
            raise BadInput(
                f"{len(training)} training networks, {len(accuracies)} accuracies, "
                f"{int(torch.isfinite(accuracies).sum())} of them finite",
                "give one validation accuracy a network, at least one of them finite",
            )
        self.training, self.accuracies = training, accuracies
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        """Raises `BadInput` when wanted accuracies are neither one nor one a sample."""
        refuse_unknown_conditions(condition, self.understands, "retrieval")
        sound = torch.isfinite(self.accuracies).cpu()
        known = self.accuracies.double().cpu().masked_fill(~sound, -torch.inf)
        wanted = known.max() if condition.accuracy is None else condition.accuracy
        targets = torch.as_tensor(wanted, dtype=torch.float64).cpu().reshape(-1)
        if len(targets) not in (1, n):
            raise BadInput(f"{len(targets)} wanted accuracies for {n} samples", "give one, or one a sample")
        nearest = (known - targets[:, None]).abs().argmin(dim=1)
        return Trajectory((self.training[nearest.expand(n).tolist()],))
