"""Monitors: measures that the caller injects, taken now and then while a generator trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from weightsmith.training.progress import TrainingProgress

Monitor = Callable[[Any, TrainingProgress], Mapping[str, float | str]]
ALARM = "alarm"


def run_monitors(
    monitors: Mapping[str, Monitor], generator: Any, progress: TrainingProgress
) -> tuple[dict[str, float | None], dict[str, str]]:
    """What each monitor measured, as `{monitor.value: number}`, and `{monitor: text}` where it said `alarm: text`.

    A monitor sees the generator with the weights that would be used now, in evaluation mode and without gradients. It
    takes its randomness from a seed of its own and the epoch in `progress`, so that a resumed training measures
    the same.
    """
    measured: dict[str, float | None] = {}
    alarms: dict[str, str] = {}
    for name, monitor in monitors.items():
        with torch.no_grad():
            found = dict(monitor(generator, progress))
        if ALARM in found:
            alarms[name] = str(found.pop(ALARM))
        measured |= {f"{name}.{key}": float(value) for key, value in found.items()}
    return measured, alarms
