"""What the loop is asked to do beyond plain Adam: optimizer, rates, clipping, averaging, precision, validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from weightsmith.errors import BadInput

OptimizerName = Literal["adam", "adamw", "muon"]
ScheduleName = Literal["constant", "cosine"]
Precision = Literal["fp32", "bf16"]
_CHOICES = {"optimizer": ("adam", "adamw", "muon"), "schedule": ("constant", "cosine"), "precision": ("fp32", "bf16")}
_AT_LEAST = {
    "planned_epochs": 1,
    "updates_per_epoch": 1,
    "validate_every": 1,
    "validation_passes": 1,
    "monitor_every": 1,
    "patience": 1,
    "warmup_updates": 0,
    "skip_nonfinite": 0,
}


@dataclass(frozen=True)
class LoopSettings:
    """How a `Trainer` trains; as it stands: Adam at a constant rate, one pass over the examples an epoch.

    Optimizing:
    `optimizer`: `adam`, exact and cheap for huge linear layers, or `adamw` with decoupled `weight_decay`,
    or `muon` for networks of many small matrices.
    `schedule`: of the learning rate, over `planned_epochs` in all; `warmup_updates` come before it, and `floor` is
    the share of the peak at which the cosine ends (see `schedule.rate_factor`).
    `clip_norm`: the largest global norm of a gradient; `inf` measures it and clips nothing.
    `ema_decay`: average the weights over the updates (see `average.WeightAverage`); the averages are then used.
    `precision`: `bf16` computes the objective under autocast; weights, gradients and moments stay float32.
    `updates_per_epoch`: updates in an epoch, of full batches out of an endless shuffled stream; `None` is one pass.
    `skip_nonfinite`: batches in a row whose loss or gradient may be not finite and that are left out, before it
    counts as divergence.

    Watching, all counted in epochs: `validate_every`, in `validation_passes` over the validation examples with noise
    of their own; `patience`: validations without improvement by a share `margin`, after which training stops;
    `monitor_every`.

    Raises `BadInput` for a value out of range, and for one that another makes meaningless.
    """

    optimizer: OptimizerName = "adam"
    weight_decay: float = 0.0
    schedule: ScheduleName = "constant"
    planned_epochs: int | None = None
    warmup_updates: int = 0
    floor: float = 0.0
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Precision = "fp32"
    updates_per_epoch: int | None = None
    skip_nonfinite: int = 0
    validate_every: int = 1
    validation_passes: int = 1
    patience: int | None = None
    margin: float = 0.0
    monitor_every: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise BadInput(f"{name}={getattr(self, name)!r} is not known", f"use one of {', '.join(choices)}")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"{name}={value!r} is too small", f"use {least} or more")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "use 0 or more")
        self._require("floor", 0 <= self.floor <= 1, "use a share of the learning rate, from 0 to 1")
        self._require("margin", 0 <= self.margin < 1, "use a share of the best loss, from 0 to below 1")
        self._require("clip_norm", self.clip_norm is None or self.clip_norm > 0, "use more than 0, or None")
        self._require("ema_decay", self.ema_decay is None or 0 <= self.ema_decay < 1, "use 0 to below 1, or None")
        if self.weight_decay and self.optimizer != "adamw":
            raise BadInput(f"weight_decay={self.weight_decay!r} is not for {self.optimizer}", "use optimizer=adamw")
        if self.schedule == "cosine" and self.planned_epochs is None:
            raise BadInput("schedule='cosine' has no end", "give planned_epochs, the length of the whole training")

    def _require(self, name: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise BadInput(f"{name}={getattr(self, name)!r} is out of range", remedy)
