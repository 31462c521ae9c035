"""The kinds of report: one for each kind of experiment, which a generator's name decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsmith.record import Record
from weightsmith.report.table import Table
from weightsmith.settings.registry import EXPERIMENTS, load_entry


@dataclass(frozen=True)
class Report:
    """How the records of one kind of experiment are read and shown; `summary` is whatever `summarise` gives."""

    summarise: Callable[[Sequence[Record]], Any]
    write: Callable[[Path, Path, Path, str, str], None]
    tables: Callable[[Any, str], Sequence[Table]]
    verdict: Callable[[Any, str], Sequence[str]]
    headline: Callable[[Any, str], dict[str, Any]]


def report_of(generator: str) -> Report:
    """The report of experiments with a generator of this registered name."""
    report: Report = load_entry(f"weightsmith.report.{EXPERIMENTS[generator]}:REPORT")
    return report
