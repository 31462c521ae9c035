"""metrics.jsonl: the training losses of the generators, for people and plots; a resumed log equals the whole one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from weightsmith.files import environment_fault, write_bytes
from weightsmith.training import TrainingProgress

DENSE_UNTIL = 100  # every epoch up to here, then every one that is a multiple of EVERY
EVERY = 25


class MetricsLog:
    """Appends one line for an epoch; `seconds`, and what is `measured` of the machine, depend on when it was run.

    A line holds what `TrainingProgress.document` gives: epoch, updates, loss and seconds, and what else was asked for.
    Epochs with a validation, a monitor, an alarm or a batch left out are always logged, others now and then: the
    first 100, and the multiples of `every`.

    Each line is written at once, so that a killed process has logged every epoch of the state that it saved.
    """

    def __init__(self, path: Path, every: int = EVERY) -> None:
        self.path, self._every = path, every
        self._file: BinaryIO | None = None

    def rewind(self, pipeline: int, epoch: int) -> None:
        """Forget what was logged of `pipeline` after `epoch`, which is where its training goes on."""
        lines = self.path.read_bytes().decode(errors="replace").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _is_before(line, pipeline, epoch)]
        write_bytes(self.path, "".join(f"{line}\n" for line in kept).encode())
        self._file = self.path.open("ab", buffering=0)

    def epoch(self, pipeline: int, progress: TrainingProgress, **measured: float | None) -> None:
        """Log one epoch, with what else was measured. Raises `EnvironmentFault` when the disk is full."""
        if self._file is None or not _is_logged(progress, self._every):
            return
        also = {name: round(value, 1) for name, value in measured.items() if value is not None}
        line = {"pipeline": pipeline, **progress.document(), "seconds": round(progress.seconds, 4), **also}
        try:
            data = memoryview(f"{json.dumps(line)}\n".encode())
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise environment_fault(error, self.path) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none where there is no file, and without the last one of a killed process."""
    found = []
    for line in path.read_bytes().decode(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def _is_logged(progress: TrainingProgress, every: int) -> bool:
    measured = progress.validation_loss is not None or progress.monitors or progress.alarms or progress.skipped
    return progress.epoch <= DENSE_UNTIL or progress.epoch % every == 0 or bool(measured)


def _is_before(line: str, pipeline: int, epoch: int) -> bool:
    try:
        entry = json.loads(line)
        return bool(entry["pipeline"] != pipeline or entry["epoch"] <= epoch)
    except (ValueError, KeyError, TypeError):
        return False  # the last line of a killed process
