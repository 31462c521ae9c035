"""The catalogue: an in-memory table of a zoo's rows that answers SQL conditions, and nothing else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from weightsmith.errors import BadInput
from weightsmith.zoo.columns import Column, columns_of
from weightsmith.zoo.rows import Row

_OWN = tuple(
    Column(name, "own", {"row": "index"}.get(name, name))
    for name in ("row", "run", "step", "seed", "layout", "segment", "sha256")
)
_FUNCTIONS = (
    *("abs", "round", "min", "max", "length", "lower", "upper", "like", "glob", "coalesce", "ifnull", "nullif", "iif"),
    *("instr", "substr", "typeof"),
)
_MAX_COLUMNS = 1900  # SQLite holds 2,000
_MAX_TEXT_BYTES = 1_000_000


class Catalogue:
    """Rows as a table with the columns row, run, step, seed, layout, segment, sha256; metrics; plain values in `extra`.

    A name that is taken is called `metrics.NAME` or `extra.NAME`, see `columns_of`. Where there are more than a table
    holds, the last entries of `extra` have no column.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        columns = columns_of(rows, _OWN)
        metrics = sum(column.origin == "metrics" for column in columns)
        if metrics > _MAX_COLUMNS:
            raise BadInput(
                f"{metrics} different metrics are more than the {_MAX_COLUMNS} that a condition can search",
                "filter zoo.rows in Python",
            )
        self._left_out = columns[len(_OWN) + _MAX_COLUMNS :]
        self._columns = columns[: len(_OWN) + _MAX_COLUMNS]
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._fill(rows)
        self._database.execute("PRAGMA query_only = ON")
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_TEXT_BYTES)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self._columns)

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
                f"compare these columns: {', '.join(self.columns)}; put text in single quotes{self._lacking()}",
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

    def _lacking(self) -> str:
        if not self._left_out:
            return ""
        return f"; {len(self._left_out)} entries of extra, such as {self._left_out[0].key!r}, have no column"

    def _fill(self, rows: Sequence[Row]) -> None:
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in self.columns[1:])
        self._database.execute(f"CREATE TABLE networks (row INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" * len(self._columns))
        values = (tuple(column.value(row) for column in self._columns) for row in rows)
        self._database.executemany(f"INSERT INTO networks VALUES ({marks})", values)
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
