"""The state of unfinished runs on disk: what they have captured so far, and the optimizer's moments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from weightsmith.ensemble import TrainingState
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import require_writable_folder, sweep_leftovers
from weightsmith.layout import Layout, Weights
from weightsmith.tensorfile import read_state, write_state
from weightsmith.zoo.ledger import SEGMENTS
from weightsmith.zoo.rows import Run

UNFINISHED = "unfinished"  # the folder of states in a zoo's
Metrics = Mapping[str, float | None]
SAVING_SHARE = 0.01  # of the time may go into saving; what a kill costs is the work since


def state_file(zoo: Path, run: Run) -> Path:
    """Where the state of the group whose first run this is lies, in the folder of a zoo."""
    return zoo / UNFINISHED / f"run-{run}.safetensors"


def drop_states(zoo: Path, runs: Set[Run]) -> None:
    """Delete the states of groups, of whatever size, whose first run is one of these."""
    files = set((zoo / UNFINISHED).glob("run-*.safetensors"))
    for file in files.intersection(state_file(zoo, run) for run in (runs if files else ())):
        file.unlink(missing_ok=True)


def require_places(zoo: Path) -> None:
    """Refuse folders of a zoo that cannot be written, before hours are spent; sweep what a killed process left.

    Raises `EnvironmentFault`, and `BadInput` for a link, through which states would be deleted.
    """
    states = zoo / UNFINISHED
    if states.is_symlink():
        raise BadInput(f"{states} is a link, through which states would be deleted", "remove the link")
    for folder in (zoo, zoo / SEGMENTS, states):
        if folder.exists():
            require_writable_folder(folder)
    sweep_leftovers(states)


@dataclass
class Captured:
    """The checkpoints of a group of runs so far, the initial ones first, and what was measured of each.

    `ended` says of a run that diverged, by its place in the group, how many of its captures are good, and why.
    """

    steps: list[int] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    metrics: list[list[Metrics]] = field(default_factory=list)
    ended: dict[int, tuple[int, str]] = field(default_factory=dict)

    def add(self, step: int, weights: Weights, metrics: Sequence[Metrics]) -> None:
        self.steps.append(step)
        self.weights.append(weights)
        self.metrics.append(list(metrics))

    def end(self, place: int, reason: str) -> None:
        """A run ends: its captures so far are good, those from now on are not."""
        self.ended.setdefault(place, (len(self.steps), reason))

    def good(self, place: int) -> int:
        """How many captures of a run are good."""
        return self.ended[place][0] if place in self.ended else len(self.steps)


class StateFile:
    """Saves a group's state after epochs, so seldom that it costs next to nothing, and when work is interrupted."""

    def __init__(self, path: Path | None, task: str) -> None:
        self._path, self._task = path, task
        self._unsaved: tuple[Captured, TrainingState, int] | None = None
        self._due = 0.0

    def load(self, layout: Layout) -> tuple[Captured, TrainingState] | None:
        """What was saved, or nothing. Raises `BadInput` when the state is that of another task.

        A state that is damaged is only work saved: it is put aside, and the runs start again.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            tensors, document = read_state(self._path)
            if document.get("task") != self._task:
                raise BadInput(
                    f"{self._path} belongs to a run with other settings", "delete it, or restore the settings"
                )
            return _restored(tensors, document, layout)
        except (ArtifactError, KeyError) as error:
            if isinstance(error.__cause__, OSError):  # it cannot be read, and may be whole
                raise
            self._path.unlink(missing_ok=True)
            return None

    def offer(self, captured: Captured, state: TrainingState) -> None:
        """A whole epoch is done: save it now or, where the last saving was dear and not long ago, later."""
        self._unsaved = (captured, state, len(captured.steps))
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Save the last epoch that was offered, if it is not saved."""
        if self._path is None or self._unsaved is None:
            return
        started = time.monotonic()
        captured, state, captures = self._unsaved
        write_state(self._path, *_as_file(captured, captures, state, self._task))
        self._unsaved = None
        now = time.monotonic()
        self._due = now + (now - started) / SAVING_SHARE


def _as_file(captured: Captured, captures: int, state: TrainingState, task: str) -> tuple[dict[str, Tensor], Any]:
    """The first `captures` captures, which are those of whole epochs, and the moments. The model is the last one."""
    weights = Weights.concatenate(captured.weights[:captures])
    tensors: dict[str, Tensor] = {"captured": weights.vectors}
    tensors |= {f"integer.{name}": value for name, value in weights.integers.items()}
    tensors |= {f"optimizer.{name}": value for name, value in state.optimizer.items()}
    document = {
        "task": task,
        "epoch": state.epoch,
        "steps": captured.steps[:captures],
        "metrics": captured.metrics[:captures],
        "ended": [[place, good, why] for place, (good, why) in captured.ended.items() if good <= captures],
    }
    return tensors, document


def _restored(tensors: Mapping[str, Tensor], document: Any, layout: Layout) -> tuple[Captured, TrainingState]:
    integers = {spec.name: tensors[f"integer.{spec.name}"] for spec in layout.integer}
    every = Weights(layout, tensors["captured"], integers)
    steps = document["steps"]
    size = len(every) // len(steps)
    weights = [every[start : start + size] for start in range(0, len(every), size)]
    ended = {place: (good, why) for place, good, why in document["ended"]}
    optimizer = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith("optimizer.")}
    captured = Captured(steps, weights, document["metrics"], ended)
    return captured, TrainingState(document["epoch"], weights[-1], optimizer)
