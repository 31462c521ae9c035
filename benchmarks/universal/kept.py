"""Rows that were measured already, a line each, so that a part goes on where it stopped."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from weightsmith.environment import describe_environment
from weightsmith.errors import BadInput

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which of the things to be measured are this process's, where several share a part: number `own` of `of`."""

    own: int = 0
    of: int = 1

    @classmethod
    def read(cls, text: str) -> Share:
        """`0/2` is the first of two."""
        own, _, of = text.partition("/")
        if not (own.isdecimal() and of.isdecimal() and int(own) < int(of)):
            raise BadInput(f"--share {text!r} is not OWN/OF", "give 0/2 to one process and 1/2 to the other")
        return cls(int(own), int(of))

    def of_all(self, things: Iterable[T]) -> list[T]:
        return [thing for number, thing in enumerate(things) if number % self.of == self.own]


class Kept:
    """A file of `{key, commit, row}`. Whatever a row depends on stands in its key: another one is measured anew."""

    def __init__(self, path: Path, share: Share | None = None, **common: Any) -> None:
        self.path, self.share, self._common = path, share or Share(), common
        self._found: dict[str, Row] = {}
        self._commits: dict[str, str] = {}
        self._used: set[str] = set()
        self._commit = str(describe_environment()["commit"])
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            self._read(line)

    def row(self, measure: Callable[[], Row], again: bool = False, **key: Any) -> Row:
        """The row of a key: kept, or measured now (or `again`) and kept."""
        name = json.dumps({**self._common, **key}, sort_keys=True)
        if again or name not in self._found:
            found = json.loads(json.dumps(measure()))
            self._found[name], self._commits[name] = found, self._commit
            line = json.dumps({"key": json.loads(name), "commit": self._commit, "row": found})
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        self._used.add(name)
        return self._found[name]

    @property
    def commits(self) -> list[str]:
        """The commits that measured the rows which were asked for."""
        return sorted({self._commits[name] for name in self._used})

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            return
        name = json.dumps(entry["key"], sort_keys=True)
        self._found[name], self._commits[name] = entry["row"], entry["commit"]


class Progress:
    """Lines for a log: how many of how many, and about how long the rest will take."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._started = name, total, 0, time.monotonic()
        self.note(f"{total} to do")

    def done(self, text: str) -> None:
        self._done += 1
        spent = time.monotonic() - self._started
        left = spent / self._done * (self._total - self._done)
        self.note(f"{self._done}/{self._total}, {spent:.0f} s, {left:.0f} s left: {text}")

    def note(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)


def described(row: Mapping[str, Any]) -> str:
    """A row's architecture, in a few words."""
    return " ".join(str(row[key]) for key in ("method", "split", "index", "family") if key in row)
