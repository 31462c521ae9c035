"""metrics.jsonl: the training losses of the generators, for people and plots; a resumed log equals the whole one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from weightsmith.files import write_bytes
from weightsmith.training import TrainingProgress

DENSE_UNTIL = 100  # every epoch up to here, then every one that is a multiple of EVERY
EVERY = 25


class MetricsLog:
    """Appends one line for an epoch; `seconds` is the only field that depends on the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def rewind(self, pipeline: int, epoch: int) -> None:
        """Forget what was logged of `pipeline` after `epoch`, which is where its training goes on."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _is_before(line, pipeline, epoch)]
        write_bytes(self.path, "".join(f"{line}\n" for line in kept).encode())
        self._file = self.path.open("a", encoding="utf-8")

    def epoch(self, pipeline: int, progress: TrainingProgress) -> None:
        if self._file is None or (progress.epoch > DENSE_UNTIL and progress.epoch % EVERY):
            return
        line = {"pipeline": pipeline, **progress.__dict__, "seconds": round(progress.seconds, 4)}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_before(line: str, pipeline: int, epoch: int) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False  # the last line of a killed process
    return entry["pipeline"] != pipeline or entry["epoch"] <= epoch
