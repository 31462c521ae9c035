"""Export of a zoo's networks as one checkpoint file each, with a table that says which is which."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from weightsmith.checkpoint import SUFFIXES, write_checkpoint
from weightsmith.errors import BadInput
from weightsmith.files import LEFTOVER_PREFIX, require_writable_folder, sweep_leftovers, write_bytes
from weightsmith.layout import Weights
from weightsmith.zoo.rows import Row, Run

INDEX = "index.csv"


class Readable(Protocol):
    """What export needs of a zoo."""

    @property
    def runs(self) -> list[Run]: ...

    def read(self, rows: Sequence[Row]) -> Weights: ...


def export_rows(zoo: Readable, folder: Path, format: str, rows: Sequence[Row]) -> list[Path]:
    """Write `run-00003-step-00005.safetensors` (or `.pt`) for each row, then `index.csv`; returns the checkpoints.

    A run named by text is a name, never a path: its file is called after its place in the zoo, `name-00007-...`.
    Raises `BadInput` for another format and for a folder that holds other files, `EnvironmentFault`, and what
    `Zoo.read` raises.
    """
    suffix = f".{format}"
    if suffix not in SUFFIXES:
        raise BadInput(f"format {format!r} is unknown", f"use one of {', '.join(s[1:] for s in SUFFIXES)}")
    positions = {run: position for position, run in enumerate(zoo.runs)}
    names = [f"{_run_name(row.run, positions)}-step-{row.step:05d}{suffix}" for row in rows]
    _require_ours(folder, {INDEX, *names})
    require_writable_folder(folder)
    sweep_leftovers(folder)
    for row, name in zip(rows, names, strict=True):
        write_checkpoint(folder / name, zoo.read([row]).states()[0])
    write_bytes(folder / INDEX, _table(rows, names))
    return [folder / name for name in names]


def _run_name(run: Run, positions: dict[Run, int]) -> str:
    return f"run-{run:05d}" if isinstance(run, int) and run >= 0 else f"name-{positions[run]:05d}"


def _require_ours(folder: Path, names: set[str]) -> None:
    if folder.is_dir():
        others = {p.name for p in folder.iterdir() if not p.name.startswith(LEFTOVER_PREFIX)} - names
        if others:
            raise BadInput(f"{folder} holds other files, such as {min(others)!r}", "export to a new folder")


def _table(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "run", "step", "seed", "layout", "sha256", *(f"metric.{name}" for name in metrics)])
    for row, name in zip(rows, names, strict=True):
        measured = [row.metrics.get(metric) for metric in metrics]
        table.writerow([name, row.run, row.step, row.seed, row.layout, row.sha256, *measured])
    return text.getvalue().encode()
