"""What `zoo export` wrote: checkpoint files with an `index.csv`, from which each network comes back exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.hashed import parse_json
from weightsmith.layout import Layout
from weightsmith.zoo.cells import read_count, run_from_text
from weightsmith.zoo.export import EXTRA, INDEX, INDEX_COLUMNS, LAYOUTS, METRIC
from weightsmith.zoo.importing.sources.candidate import Candidate, FileCandidate, Reading, Source, Unusable
from weightsmith.zoo.importing.sources.folder import inside, list_files, some
from weightsmith.zoo.importing.sources.table import Line, Table, header_of
from weightsmith.zoo.rows import RowInfo

_REMEDY = "restore it from a copy, or give your own table with --table"


def is_index(path: Path) -> bool:
    """Whether `path` is the index of an export."""
    try:
        return path.is_file() and header_of(path)[: len(INDEX_COLUMNS)] == INDEX_COLUMNS
    except BadInput:
        return False


def exported_files(folder: Path, reading: Reading, exclude: Path | None, index: Path | None = None) -> Source:
    """The networks of an export, in its order, each checked by its hash when it is read. Raises `BadInput`."""
    table = Table.open(index or folder / INDEX)
    layouts = _layouts(folder)
    if not table.count:
        raise BadInput(f"{table.path} names no network", "export some")
    named = {line.cells["file"] for line in table}
    more = [name for name in list_files(folder, exclude).files if name not in named]
    if more:
        raise BadInput(
            f"{folder} has {len(more)} checkpoint files that {INDEX} does not name ({some(more)})",
            "move them elsewhere, or give a pattern or a table of your own",
        )

    def candidates() -> Iterator[Candidate | Unusable]:
        for line in table:
            name = line.cells["file"]
            try:
                layout = layouts.get(line.cells["layout"])
                sha256 = line.cells["sha256"] if layout is not None else None
                path = inside(folder, name)
                yield FileCandidate(name, path, _info(table, line), reading, layout=layout, sha256=sha256)
            except BadInput as error:
                yield Unusable(name, error)

    return Source("export", folder, table.count, candidates)


def _layouts(folder: Path) -> Mapping[str, Layout]:
    """The layouts by fingerprint, as the export states them; none where it is of a time before it did."""
    path = inside(folder, LAYOUTS)
    if not path.is_file():
        return {}
    document = parse_json(path.read_bytes(), str(path))
    try:
        layouts = {name: Layout.from_json(entry) for name, entry in document.items()}
    except (AttributeError, TypeError, LayoutMismatch) as error:
        raise ArtifactError(f"{path} does not hold layouts: {error}", _REMEDY) from None
    wrong = next((name for name, layout in layouts.items() if layout.fingerprint != name), None)
    if wrong is not None:
        raise ArtifactError(f"{path}: layout {wrong[:80]!r} was changed after it was exported", _REMEDY)
    return layouts


def _info(table: Table, line: Line) -> RowInfo:
    where = f"{table.path} line {line.number}"
    cells = line.cells
    counts = [read_count(cells[name]) for name in ("step", "seed")]
    if None in counts or not cells["run"]:
        raise ArtifactError(f"{where} has no run, step or seed", _REMEDY)
    columns = [column for column in table.columns if column.startswith(METRIC) and cells[column]]
    metrics = {column.removeprefix(METRIC): _value(cells[column], where) for column in columns}
    extra = _value(cells.get(EXTRA) or "{}", where)
    try:
        return RowInfo(run_from_text(cells["run"]), counts[0] or 0, counts[1] or 0, metrics, extra)
    except BadInput as error:
        raise ArtifactError(f"{where}: {error.message}", _REMEDY) from None


def _value(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{where} holds {text[:80]!r}, which is not a value", _REMEDY) from None
