"""Flow matching for diversity and task loss for accuracy, of one generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightsmith.hypernetworks import Blueprint
from weightsmith.interfaces import LossRecord, Objective
from weightsmith.objectives.graph_matching import NETWORK, GraphMatching


@dataclass(frozen=True)
class InSteps:
    """A flow that samples in so many steps wherever none are asked for."""

    generator: Any
    steps: int

    @property
    def network(self) -> nn.Module:
        found: nn.Module = self.generator.network
        return found

    def weights(self, blueprint: Blueprint, rng: torch.Generator) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.generator.weights(blueprint, rng, steps=self.steps)
        return found


@dataclass(frozen=True)
class Combined:
    """`matching + weight task`: the first on `networks` checkpoints drawn anew, the second on sampled networks.

    The task loss goes through samples of `steps` steps (one from noise is the mean of what the flow expects there).
    """

    matching: GraphMatching
    task: Objective
    networks: int = 4
    weight: float = 1.0
    steps: int = 1

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        """The loss on a batch of the task's examples."""
        numbers = torch.randint(len(self.matching.checkpoints), (self.networks,), generator=rng)
        matching = self.matching(generator, {NETWORK: numbers}, rng).loss
        task = self.task(InSteps(generator, self.steps), batch, rng).loss
        parts = {"matching": float(matching.detach()), "task": float(task.detach())}
        return LossRecord(matching + self.weight * task, parts)
