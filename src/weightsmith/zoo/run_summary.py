"""Summary of one run: its settings, and each of its networks with what was measured and its hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.settings.registry import nearest
from weightsmith.zoo.cells import run_from_text, run_to_text
from weightsmith.zoo.rows import Row, Run
from weightsmith.zoo.store import Zoo


@dataclass(frozen=True)
class RunSummary:
    """A run: its seed, what its segments state (`settings`), what all its rows do (`extra`), and its rows by step."""

    run: Run
    seed: int
    settings: Mapping[str, Any]
    extra: Mapping[str, Any]
    rows: Sequence[Row]


def find_run(zoo: Zoo, text: str) -> Run:
    """The run that is written as `text`: digits are a number where there is such a run, else a name.

    Raises `BadInput` naming the one most like it.
    """
    for run in (run_from_text(text), text):
        if run in zoo.runs:
            return run
    names = {run_to_text(run) for run in zoo.runs}
    near = nearest(text, names) or min(names, default=None)
    raise BadInput(f"{zoo.path} holds no run {text!r}", f"choose another, such as {near}" if near else "it is empty")


def summarise_run(zoo: Zoo, run: Run, rows: Sequence[Row] | None = None) -> RunSummary:
    """Summarise one run of a zoo, or those of its `rows` that were chosen. Raises `BadInput` where there is none."""
    chosen = zoo.rows if rows is None else rows
    members = sorted((row for row in chosen if row.run == run), key=lambda row: row.step)
    if not members:
        raise BadInput(f"no network of run {run!r} was chosen", "choose others with --where")
    settings: dict[str, Any] = {}
    for row in {row.segment: row for row in members}.values():
        settings |= zoo.provenance(row)
    first = members[0].extra
    shared = {key: value for key, value in first.items() if all(row.extra.get(key) == value for row in members)}
    return RunSummary(run, members[0].seed, settings, shared, members)


def run_lines(summary: RunSummary) -> list[str]:
    """A run as lines of text."""
    lines = [f"run {summary.run!r}, seed {summary.seed}, {len(summary.rows):,} networks"]
    lines += [f"  {key}: {value}" for key, value in _flat({**summary.settings, **summary.extra}).items()]
    for row in summary.rows:
        facts = {**row.metrics, **{k: v for k, v in row.extra.items() if k not in summary.extra}}
        shown = [f"{key} {_shown(value)}" for key, value in facts.items()]
        lines.append("  ".join([f"step {row.step}", *shown, f"layout {row.layout[:8]}", f"sha256 {row.sha256}"]))
    return lines


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        nested = isinstance(value, Mapping) and bool(value)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
