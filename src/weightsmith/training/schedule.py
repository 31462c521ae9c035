"""The learning rate as a function of the update and of the planned total, and of nothing else."""

from __future__ import annotations

import math

from weightsmith.training.settings import LoopSettings


def rate_factor(settings: LoopSettings, update: int, total: int) -> float:
    """The learning rate of update u = 0, 1, ... over its peak.

    Warm-up over the first W updates is `(u + 1) / W`. After it `constant` is 1, and `cosine` is
    `floor + (1 - floor) (1 + cos(pi p)) / 2` with `p = (u - W) / (total - W)`, which reaches the floor at
    `u = total` and stays there (Loshchilov and Hutter 2017, eq. 5, one cycle).
    """
    warmup = settings.warmup_updates
    if update < warmup:
        return (update + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    done = min(1.0, (update - warmup) / max(1, total - warmup))
    return settings.floor + (1 - settings.floor) * (1 + math.cos(math.pi * done)) / 2
