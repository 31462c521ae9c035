"""Export of a zoo's networks as one checkpoint file each, with tables that say which is which and bring them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from weightsmith.checkpoint import SUFFIXES, write_checkpoint
from weightsmith.errors import BadInput
from weightsmith.files import LEFTOVER_PREFIX, replacing, require_writable_folder, sweep_leftovers, write_bytes
from weightsmith.hashed import canonical_json
from weightsmith.layout import Layout, Weights
from weightsmith.zoo.cells import metric_to_text, run_to_text
from weightsmith.zoo.rows import Row, Run

INDEX = "index.csv"
LAYOUTS = "layouts.json"
INDEX_COLUMNS = ("file", "run", "step", "seed", "layout", "sha256")
METRIC = "metric."
EXTRA = "extra"
PARQUET = "parquet"
FORMATS = (*(suffix[1:] for suffix in SUFFIXES), PARQUET)


class Readable(Protocol):
    """What export needs of a zoo."""

    @property
    def runs(self) -> list[Run]: ...

    @property
    def layouts(self) -> Mapping[str, Layout]: ...

    def read(self, rows: Sequence[Row]) -> Weights: ...


def export_rows(zoo: Readable, folder: Path, format: str, rows: Sequence[Row]) -> list[Path]:
    """Write `run-00003-step-00005.safetensors` (or `.pt`) for each row, then `index.csv`; returns the checkpoints.

    A run named by text is a name, never a path: its file is called after its place in the zoo, `name-00007-...`.
    `parquet` is one table instead, see `parquet.write_parquet`. Raises `BadInput` for another format and for a folder
    that holds other files, `EnvironmentFault`, and what `Zoo.read` raises.
    """
    if format == PARQUET:
        from weightsmith.zoo.parquet import write_parquet  # it needs pyarrow, which is not always there

        return write_parquet(zoo, folder, rows)
    if format not in FORMATS:
        raise BadInput(f"format {format!r} is unknown", f"use one of {', '.join(FORMATS)}")
    positions = {run: position for position, run in enumerate(zoo.runs)}
    names = [f"{_run_name(row.run, positions)}-step-{row.step:05d}.{format}" for row in rows]
    require_ours(folder, {INDEX, LAYOUTS, *names})
    for row, name in zip(rows, names, strict=True):
        write_checkpoint(folder / name, zoo.read([row]).states()[0])
    stored = zoo.layouts
    layouts = {name: stored[name].to_json() for name in dict.fromkeys(row.layout for row in rows)}
    write_bytes(folder / LAYOUTS, (canonical_json(layouts) + "\n").encode())
    with _replacing_text(folder / INDEX) as text:
        csv.writer(text, lineterminator="\n").writerows(_table(rows, names))
    return [folder / name for name in names]


def require_ours(folder: Path, names: set[str]) -> None:
    """Make `folder` ready to be written to. Raises `BadInput` where it holds other files, and `EnvironmentFault`."""
    if folder.is_dir():
        others = {p.name for p in folder.iterdir() if not p.name.startswith(LEFTOVER_PREFIX)} - names
        if others:
            raise BadInput(f"{folder} holds other files, such as {min(others)!r}", "export to a new folder")
    require_writable_folder(folder)
    sweep_leftovers(folder)


def _run_name(run: Run, positions: dict[Run, int]) -> str:
    return f"run-{run:05d}" if isinstance(run, int) and run >= 0 else f"name-{positions[run]:05d}"


def _table(rows: Sequence[Row], names: Sequence[str]) -> Iterator[list[Any]]:
    """Lines of text cells: what is not measured is empty, `null` is what was measured and not finite."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    extra = [EXTRA] if any(row.extra for row in rows) else []
    yield [*INDEX_COLUMNS, *(METRIC + name for name in metrics), *extra]
    for row, name in zip(rows, names, strict=True):
        measured = [metric_to_text(row.metrics[m]) if m in row.metrics else "" for m in metrics]
        more = [canonical_json(dict(row.extra))] if extra else []
        yield [name, run_to_text(row.run), row.step, row.seed, row.layout, row.sha256, *measured, *more]


@contextmanager
def _replacing_text(path: Path) -> Iterator[io.TextIOBase]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as text:
        yield text
