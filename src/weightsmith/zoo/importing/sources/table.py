"""Table: a CSV file that states facts about networks, read line by line in bounded memory, also gzipped."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.zoo.cells import is_number, is_truth, read_number, read_truth

MAX_LINE = 200_000  # characters
MAX_BYTES = 4_000_000_000  # of the text; a gzipped file may inflate to no more
MAX_COLUMNS = 10_000
ColumnKind = Literal["number", "truth", "text", "empty"]


@dataclass(frozen=True)
class Line:
    """One line of a table: its number in the file, and its cells by column; the columns without a name are left out."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table whose form was checked: its columns, what stands in each, and how many lines there are below the header.

    A column is of numbers where every cell in it that is not empty is a decimal number (or NaN or infinity), of truths
    where every one is `true` or `false`, else of text.
    """

    path: Path
    columns: tuple[str, ...]
    kinds: Mapping[str, ColumnKind]
    count: int

    @classmethod
    def open(cls, path: Path, most: int | None = None) -> Table:
        """Read the whole table once. Raises `ArtifactError` for a bad form, and for more than `most` lines."""
        kinds: dict[str, ColumnKind] = {}
        count, columns = 0, header_of(path)
        for line in _lines(path):
            count += 1
            if most is not None and count > most:
                raise ArtifactError(f"{path} has more than {most} lines", "give the table that belongs to these arrays")
            for column, cell in line.cells.items():
                kinds[column] = _joined(kinds.get(column, "empty"), cell)
        return cls(path, columns, {column: kinds.get(column, "empty") for column in columns}, count)

    def __iter__(self) -> Iterator[Line]:
        return _lines(self.path)

    def facts(self, line: Line, besides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a line states: numbers as metrics (None where empty or not finite), truths and texts as extra."""
        metrics: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for column in self.columns:
            cell, kind = line.cells[column], self.kinds[column]
            if column in besides or kind == "empty":
                continue
            if kind == "number":
                metrics[column] = read_number(cell) if cell else None
            elif cell:
                extra[column] = read_truth(cell) if kind == "truth" else cell
        return metrics, extra


def header_of(path: Path) -> tuple[str, ...]:
    """The names of the columns. Raises `ArtifactError`."""
    with _reading(path) as text:
        header = [name.lstrip() for name in next(_rows(path, text), (0, []))[1]]
    columns = tuple(name for name in header if name)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    odd = next((name for name in columns if not name.isprintable()), None)
    if not columns or twice is not None or odd is not None or len(header) > MAX_COLUMNS:
        problem = "is empty" if not columns else f"has a column {odd!r}" if odd else f"has {len(header)} columns"
        problem = problem if twice is None else f"has two columns {twice!r}"
        raise ArtifactError(f"{path} {problem}", "give a CSV file whose first line names each column once")
    return columns


def _joined(kind: ColumnKind, cell: str) -> ColumnKind:
    """The kind of a column of this kind with one more cell."""
    if not cell or kind == "text":
        return kind
    own: ColumnKind = "number" if is_number(cell) else "truth" if is_truth(cell) else "text"
    return own if kind in ("empty", own) else "text"


def _lines(path: Path) -> Iterator[Line]:
    with _reading(path) as text:
        rows = _rows(path, text)
        header = [name.lstrip() for name in next(rows)[1]]
        for number, row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise ArtifactError(
                    f"{path} line {number} has {len(row)} cells, and {len(header)} columns are named",
                    "correct the line; text that holds a comma stands in double quotes",
                )
            yield Line(number, {name: cell.strip() for name, cell in zip(header, row, strict=True) if name})


def _rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_bounded(path, text), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ArtifactError(f"{path} line {reader.line_num} is not CSV: {error}", "save the table as CSV") from None


def _bounded(path: Path, text: TextIO) -> Iterator[str]:
    """The lines of a text, none too long and not too many in all: a few bytes of gzip can stand for very many."""
    left = MAX_BYTES
    while line := text.readline(MAX_LINE + 1):
        left -= len(line)
        if len(line) > MAX_LINE or left < 0:
            what = f"a line of more than {MAX_LINE:,} characters" if left >= 0 else f"more than {MAX_BYTES:,} bytes"
            raise ArtifactError(f"{path} holds {what}", "give a table of a reasonable size")
        yield line


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    """The text of a file, inflated while it is read where its name ends in `.gz`."""
    try:
        with path.open("rb") as file:
            raw = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"cannot read the table {path}: {reason}", "check the path, or restore the file") from None
