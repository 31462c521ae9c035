"""What the loop tells of each epoch, and what it notes while an epoch goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class TrainingProgress:
    """Where training is: epochs and updates done, the mean loss of the last epoch, and seconds spent in all.

    What was not asked for is `None` or empty: `validation_loss` except in epochs that validate, `learning_rate` (of
    the last update) at a constant rate, `gradient_norm` (mean over the epoch, before clipping) and `clipped_share` (of
    the epoch's updates) without `clip_norm`. `skipped`: batches of the epoch that were left out since they were not
    finite. `parts`: means of the objective's named parts. `monitors`: what monitors measured, as `monitor.value`, and
    `alarms` what they warned of.
    """

    epoch: int
    updates: int
    loss: float
    seconds: float
    validation_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    clipped_share: float | None = None
    skipped: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    monitors: Mapping[str, float | None] = field(default_factory=dict)
    alarms: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The fields as JSON, without those that say nothing; a number that is not finite is null."""
        silent = {"skipped": 0, "parts": {}, "monitors": {}, "alarms": {}}
        return {
            name: _finite(value)
            for name, value in asdict(self).items()
            if value is not None and not (name in silent and value == silent[name])
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> TrainingProgress:
        """The inverse of `document`, but that what is null is NaN where a number must stand."""
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(**known | {"loss": math.nan if known["loss"] is None else known["loss"]})


@dataclass
class EpochSums:
    """What an epoch that is going on has come to. `losses` and `parts` are multiplied by the examples in the batch."""

    batches: int = 0
    rows: int = 0
    clipped: int = 0
    skipped: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def note(self, loss: float, norm: float, clipped: bool, parts: Mapping[str, float], rows: int) -> None:
        """Take in one update."""
        self.batches += 1
        self.rows += rows
        self.clipped += clipped
        self.losses.append(loss * rows)
        self.norms.append(norm)
        for name, value in parts.items():
            self.parts.setdefault(name, []).append(float(value) * rows)

    def leave_out(self) -> None:
        """Take in a batch with which no update was made."""
        self.batches += 1
        self.skipped += 1

    @property
    def loss(self) -> float:
        """The mean over examples; NaN when every batch was left out."""
        return sum(self.losses) / self.rows if self.rows else math.nan

    @property
    def gradient_norm(self) -> float | None:
        return math.fsum(self.norms) / len(self.norms) if self.norms else None

    @property
    def clipped_share(self) -> float | None:
        return self.clipped / len(self.norms) if self.norms else None

    def part_means(self) -> dict[str, float]:
        return {name: math.fsum(values) / self.rows for name, values in self.parts.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
