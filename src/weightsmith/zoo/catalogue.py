"""The catalogue: an in-memory table of a zoo's rows that answers SQL conditions, and nothing else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

from weightsmith.errors import BadInput
from weightsmith.zoo.rows import Row

_OWN_COLUMNS = ("row", "run", "step", "seed", "layout", "segment", "sha256")
_FUNCTIONS = (
    *("abs", "round", "min", "max", "length", "lower", "upper", "like", "glob", "coalesce", "ifnull", "nullif", "iif"),
    *("instr", "substr", "typeof"),
)
_MAX_METRICS = 1900  # SQLite holds 2,000 columns
_MAX_TEXT_BYTES = 1_000_000


class Catalogue:
    """Rows as a table with the columns row, run, step, seed, layout, segment, sha256 and one a metric.

    A metric whose name is taken, upper and lower case being one, is called `metrics.NAME`.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
        if len(metrics) > _MAX_METRICS:
            raise BadInput(
                f"{len(metrics)} different metrics are more than the {_MAX_METRICS} that a condition can search",
                "filter zoo.rows in Python",
            )
        self.columns = _column_names(metrics)
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._fill(rows, metrics)
        self._database.execute("PRAGMA query_only = ON")
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_TEXT_BYTES)

    def find(self, where: str) -> list[int]:
        """Indexes, ascending, of the rows for which the SQL expression `where` holds.

        One comparison, arithmetic or plain function may be used; no sub-query. Raises `BadInput` naming the columns.
        """
        try:
            self._refuse_unknown_names(where)
            # A connection counts SELECTs while it compiles; ours is the first, and a second is not an expression.
            self._database.set_authorizer(_Authorizer())
            found = self._database.execute(f"SELECT row FROM networks WHERE (\n{where}\n) ORDER BY row").fetchall()
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise BadInput(
                f"condition {where!r} cannot be used: {error}",
                f"compare these columns: {', '.join(self.columns)}; put text in single quotes",
            ) from None
        finally:
            self._database.set_authorizer(None)
        return [index for (index,) in found]

    def _refuse_unknown_names(self, where: str) -> None:
        # SQLite takes an unknown name in double quotes for text, so a typing error would select silently wrong rows.
        known = {column.lower() for column in self.columns}
        for quoted in re.findall(r'"((?:[^"]|"")*)"', re.sub(r"'(?:[^']|'')*'", "''", where)):
            if quoted.replace('""', '"').lower() not in known:
                raise ValueError(f"no such column: {quoted}")

    def _fill(self, rows: Sequence[Row], metrics: Sequence[str]) -> None:
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in self.columns[1:])
        self._database.execute(f"CREATE TABLE networks (row INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" * len(self.columns))
        self._database.executemany(f"INSERT INTO networks VALUES ({marks})", _values(rows, metrics))
        self._database.commit()


class _Authorizer:
    """Lets one statement read the table and call harmless functions; everything else is denied."""

    def __init__(self) -> None:
        self._selects = 0

    def __call__(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        allowed = action == sqlite3.SQLITE_READ and first == "networks"
        if action == sqlite3.SQLITE_SELECT:
            self._selects += 1
            allowed = self._selects == 1
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = second is not None and second.lower() in _FUNCTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _column_names(metrics: Sequence[str]) -> tuple[str, ...]:
    columns = list(_OWN_COLUMNS)
    taken = set(columns)
    for name in metrics:
        column = name
        while column.lower() in taken:
            column = f"metrics.{column}"
        taken.add(column.lower())
        columns.append(column)
    return tuple(columns)


def _values(rows: Sequence[Row], metrics: Sequence[str]) -> Iterable[tuple[object, ...]]:
    for row in rows:
        own = (row.index, row.run, row.step, row.seed, row.layout, row.segment, row.sha256)
        yield own + tuple(row.metrics.get(name) for name in metrics)
