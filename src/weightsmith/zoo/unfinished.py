"""The state of an unfinished run on disk: what it has captured so far, and the optimizer's moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsmith.ensemble import TrainingState
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout, Weights
from weightsmith.tensorfile import read_state, write_state

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Captured:
    """The checkpoints of a run so far, the initial weights first, and what was measured of each."""

    weights: Weights
    metrics: Sequence[Metrics]

    def extended(self, weights: Weights, metrics: Metrics) -> Captured:
        return Captured(Weights.concatenate([self.weights, weights]), [*self.metrics, metrics])


def save_unfinished(path: Path, task: str, captured: Captured, state: TrainingState) -> None:
    """Write the state after an epoch, atomically. The model itself is the last captured network."""
    tensors: dict[str, Tensor] = {"captured": captured.weights.vectors}
    tensors |= {f"integer.{name}": value for name, value in captured.weights.integers.items()}
    for index, moments in state.optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    document = {
        "task": task,
        "epoch": state.epoch,
        "train_loss": state.train_loss,
        "metrics": [dict(metrics) for metrics in captured.metrics],
        "groups": state.optimizer["param_groups"],
    }
    write_state(path, tensors, document)


def load_unfinished(path: Path, task: str, layout: Layout) -> tuple[Captured | None, TrainingState | None]:
    """What was saved, or nothing. Raises `BadInput` when the state is that of another task.

    A state that is damaged is only work saved: it is put aside, and the run starts again.
    """
    if not path.exists():
        return None, None
    try:
        tensors, document = read_state(path)
        if document.get("task") != task:
            raise BadInput(f"{path} belongs to a run with other settings", "delete it, or restore the settings")
        integers = {spec.name: tensors[f"integer.{spec.name}"] for spec in layout.integer}
        captured = Captured(Weights(layout, tensors["captured"], integers), document["metrics"])
        optimizer = {"state": _moments(tensors), "param_groups": document["groups"]}
        model = captured.weights[-1].states()[0]
        return captured, TrainingState(document["epoch"], model, optimizer, document["train_loss"])
    except (ArtifactError, KeyError):
        path.unlink(missing_ok=True)
        return None, None


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    result: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            # As `ensemble` places weights: the fused optimizers take it for granted that moments lie like them.
            channels_last = value.ndim == 4
            placed = value.contiguous(memory_format=torch.channels_last) if channels_last else value
            result.setdefault(int(index), {})[moment] = placed
    return result
