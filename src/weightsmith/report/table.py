"""A table of the report and the terminal: headings and rows of text, and how numbers are written in it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "-"


@dataclass(frozen=True)
class Table:
    """A title, column headings, and rows of text, the first column the row's name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_text(table: Table) -> str:
    """The table in monospaced text; long headings are wrapped, so that columns are as wide as their numbers."""
    cells = list(zip(*table.rows, strict=True))
    longest = [max(map(len, column)) for column in cells]
    headings = [textwrap.wrap(name, max(width, 10)) for name, width in zip(table.columns, longest, strict=True)]
    widths = [max(width, *map(len, lines)) for width, lines in zip(longest, headings, strict=True)]
    height = max(map(len, headings))

    def line(row: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    head = [line([(([""] * height) + lines)[i - height] for lines in headings]) for i in range(height)]
    return "\n".join([table.title, *head, "  ".join("-" * width for width in widths), *map(line, table.rows)])


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals."""
    return MISSING if value is None else f"{100 * value:.2f} %"


def ratio(value: float | None) -> str:
    """A ratio with two significant digits."""
    return MISSING if value is None else f"{value:.2g}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many decimals."""
    return MISSING if value is None else f"{value:.{digits}f}"
