"""Columns: a zoo's rows as a table of plain values: own facts, then metrics, then the scalar entries of `extra`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from weightsmith.zoo.rows import Row

Origin = Literal["own", "metrics", "extra"]
Value = str | int | float | bool | None
_LARGEST = 2**63


@dataclass(frozen=True)
class Column:
    """One column: its name in the table, and under which name what it holds stands where in a row."""

    name: str
    origin: Origin
    key: str

    def value(self, row: Row) -> Value:
        """What stands there in a row; None where nothing does, or nothing that is one plain value."""
        found = getattr(row, self.key) if self.origin == "own" else getattr(row, self.origin).get(self.key)
        if isinstance(found, int) and not -_LARGEST <= found < _LARGEST:
            return float(found) if abs(found) < 10**300 else None
        return found if isinstance(found, str | int | float) else None


def columns_of(rows: Sequence[Row], own: Sequence[Column], reserved: Iterable[str] = ()) -> list[Column]:
    """`own`, one a metric, and one an entry of `extra` that is a plain value in any row, in the order first met.

    A name that is taken or reserved, upper and lower case being one, is preceded by `metrics.` or `extra.`, as often as
    it takes. An entry of `extra` whose name is empty or not printable has no column.
    """
    columns = list(own)
    taken = {name.lower() for name in (*(column.name for column in columns), *reserved)}
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    extra = dict.fromkeys(
        name
        for row in rows
        for name, value in row.extra.items()
        if name and name.isprintable() and isinstance(value, str | int | float)
    )
    for origin, names in (("metrics", metrics), ("extra", extra)):
        for key in names:
            name = key
            while name.lower() in taken:
                name = f"{origin}.{name}"
            taken.add(name.lower())
            columns.append(Column(name, origin, key))  # type: ignore[arg-type]  # it is one of the two above
    return columns
