"""What training depends on: the plan that networks trained together share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.ensemble.machine import Precision
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

Method = Literal["loop", "stacked", "vmap"]
LARGEST_LOSS = 1e30  # a network has diverged whose loss is not below it: its gradients overflow
METHODS: tuple[Method, ...] = ("loop", "stacked", "vmap")


@dataclass(frozen=True)
class TrainingPlan:
    """What networks that are trained together share.

    `capture_steps`: optimizer steps between captures, 0 for one capture an epoch. `order_seed`: where given, every
    network sees the batches that this seed gives; else each sees its own.
    """

    epochs: int
    batch_size: int
    optimizer: str
    precision: Precision
    capture_steps: int = 0
    order_seed: int | None = None


@dataclass(frozen=True)
class Member:
    """What one network has of its own: the seed of its batches and noise, and the optimizer's hyperparameters."""

    seed: int
    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.9

    @property
    def hyperparameters(self) -> tuple[float, float, float]:
        return self.learning_rate, self.weight_decay, self.momentum


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of training depends on, after a whole epoch."""

    epoch: int
    weights: Weights
    optimizer: Mapping[str, Tensor]


@dataclass(frozen=True)
class Capture:
    """The networks at one moment of their training, on the CPU.

    `step` counts optimizer steps, `epoch` whole passes over the images; `losses` is the mean training loss an image of
    each network in the epoch so far; `state` is given at the end of an epoch only.
    """

    step: int
    epoch: int
    weights: Weights
    losses: Float[Tensor, " network"]
    state: TrainingState | None


def orders(plan: TrainingPlan, members: Sequence[Member], epoch: int, images: int) -> Tensor:
    """The order of the images in one epoch, `[1, image]` where it is shared, else `[network, image]`.

    It follows from seeds and the epoch alone, so a run trained in any company, or resumed, sees the same batches.
    """
    seeds = [member.seed for member in members] if plan.order_seed is None else [plan.order_seed]
    generator = torch.Generator()
    drawn = [torch.randperm(images, generator=generator.manual_seed(order_seed(s, epoch))) for s in seeds]
    return torch.stack(drawn)


def order_seed(seed: int, epoch: int) -> int:
    """The seed of the order, and of noise such as dropout's, in one epoch."""
    return derive_seed(seed, "order", epoch)
