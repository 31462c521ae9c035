"""What an import comes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from weightsmith.errors import BadInput
from weightsmith.layout import Layout
from weightsmith.zoo.rows import Quarantined, Run


@dataclass(frozen=True)
class Skipped:
    """What was not imported, and why."""

    name: str
    reason: str


@dataclass
class ImportReport:
    """Networks stored now and stored before, and their runs; what was quarantined, cast and skipped; seconds.

    `casts` counts tensors by what was done, as `float64 -> float32`; `layouts` are those of the zoo afterwards.
    """

    stored: int = 0
    present: int = 0
    runs: set[Run] = field(default_factory=set)
    quarantined: list[Quarantined] = field(default_factory=list)
    casts: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)
    layouts: dict[str, Layout] = field(default_factory=dict)
    seconds: float = 0.0


def named(name: str, error: BadInput | OSError) -> BadInput:
    """An error that names the file that it is about."""
    if isinstance(error, OSError):
        return BadInput(f"cannot read {name}: {error.strerror or error}", "check the file and its permissions")
    return error if name in error.message else type(error)(f"{name}: {error.message}", error.remedy)
