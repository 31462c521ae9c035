"""Summary: what a zoo holds, at a glance: networks, runs, layouts, accuracies, what diverged and was quarantined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from weightsmith.zoo.rows import Quarantined, Row, Run
from weightsmith.zoo.store import Zoo

# The metrics that may state how good a network is, the first of them that a zoo has is summarised.
ACCURACIES = (
    *("accuracy", "validation_accuracy", "val_accuracy", "val_acc", "stated_accuracy"),
    *("test_accuracy", "test_acc", "acc", "mean_accuracy"),
)
SHOWN = 20


@dataclass(frozen=True)
class LayoutSummary:
    """How many networks have a layout, by its fingerprint, and of how many parameters and tensors it is."""

    fingerprint: str
    parameters: int
    tensors: int
    networks: int


@dataclass(frozen=True)
class GroupSummary:
    """The runs of one architecture on one data set (None where it is not stated).

    `lowest`, `median` and `highest` are of the accuracy of each run's last network, over the `measured` that have one.
    """

    architecture: str | None
    dataset: str | None
    runs: int
    networks: int
    measured: int
    lowest: float | None
    median: float | None
    highest: float | None


@dataclass(frozen=True)
class ZooSummary:
    """Everything that `zoo show` tells of a zoo, or of those of its networks that were chosen.

    `steps` are the first and the last; `accuracy` names the metric that the groups are about; `bytes` are those of all
    segments. A run that diverged is kept up to its last good network.
    """

    path: Path
    networks: int
    runs: int
    steps: tuple[int, int] | None
    segments: int
    bytes: int
    layouts: Sequence[LayoutSummary]
    accuracy: str | None
    groups: Sequence[GroupSummary]
    diverged: Mapping[Run, str]
    quarantined: Sequence[Quarantined]


def summarise(zoo: Zoo, rows: Sequence[Row] | None = None) -> ZooSummary:
    """Summarise `rows` of a zoo, or all of it. Reads headers and no weights."""
    chosen = zoo.rows if rows is None else rows
    steps = [row.step for row in chosen]
    metric = next((name for name in ACCURACIES if any(row.metrics.get(name) is not None for row in chosen)), None)
    return ZooSummary(
        zoo.path,
        len(chosen),
        len({row.run for row in chosen}),
        (min(steps), max(steps)) if steps else None,
        zoo.segments,
        zoo.bytes,
        _layouts(zoo, chosen),
        metric,
        _groups(zoo, chosen, metric),
        {row.run: str(row.extra["diverged"]) for row in chosen if "diverged" in row.extra},
        zoo.quarantined if rows is None else [],
    )


def _layouts(zoo: Zoo, rows: Sequence[Row]) -> list[LayoutSummary]:
    stored = zoo.layouts
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.layout] = counts.get(row.layout, 0) + 1
    return [
        LayoutSummary(name, stored[name].parameters, len(stored[name].tensors), count) for name, count in counts.items()
    ]


def _groups(zoo: Zoo, rows: Sequence[Row], metric: str | None) -> list[GroupSummary]:
    stated = {segment: _labels(zoo.provenance(row)) for segment, row in {row.segment: row for row in rows}.items()}
    grouped: dict[tuple[str | None, str | None], list[Row]] = {}
    for row in rows:
        architecture, dataset = stated[row.segment]
        label = (architecture or _text(row.extra.get("architecture")), dataset or _text(row.extra.get("dataset")))
        grouped.setdefault(label, []).append(row)
    return [_group(*label, members, metric) for label, members in grouped.items()]


def _group(architecture: str | None, dataset: str | None, rows: list[Row], metric: str | None) -> GroupSummary:
    last: dict[Run, Row] = {}
    for row in rows:
        if row.run not in last or row.step >= last[row.run].step:
            last[row.run] = row
    values = [value for row in last.values() if metric and (value := row.metrics.get(metric)) is not None]
    numbers = (min(values), median(values), max(values)) if values else (None, None, None)
    return GroupSummary(architecture, dataset, len(last), len(rows), len(values), *numbers)


def _labels(provenance: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What a segment says of its networks' architecture, with its options, and of their data set."""
    architecture, dataset = provenance.get("architecture"), provenance.get("dataset")
    name = architecture.get("name") if isinstance(architecture, dict) else architecture
    options = architecture.get("options") if isinstance(architecture, dict) else None
    if name is not None and isinstance(options, dict) and options:
        name = f"{name}({', '.join(f'{key}={value}' for key, value in sorted(options.items()))})"
    data = dataset.get("name") if isinstance(dataset, dict) else dataset
    return None if name is None else str(name), None if data is None else str(data)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def summary_lines(summary: ZooSummary) -> list[str]:
    """A summary as lines of text: what it is, its layouts, its groups, what diverged and what was quarantined."""
    steps = "" if summary.steps is None else ", step " + " to ".join(map(str, dict.fromkeys(summary.steps)))
    lines = [
        f"{summary.networks:,} networks of {summary.runs:,} runs{steps}; "
        f"{summary.bytes / 1e6:,.1f} MB, segments: {summary.segments:,}"
    ]
    layouts = [
        (layout.fingerprint[:8], f"{layout.parameters:,}", f"{layout.tensors:,}", f"{layout.networks:,}")
        for layout in summary.layouts
    ]
    accuracy = summary.accuracy or "accuracy"
    groups = [
        (g.architecture or "not stated", g.dataset or "not stated", f"{g.runs:,}", f"{g.networks:,}", *_numbers(g))
        for g in summary.groups
    ]
    lines += _table(("layout", "parameters", "tensors", "networks"), layouts, texts=1)
    heads = ("architecture", "data set", "runs", "networks", f"last {accuracy}: min", "median", "max")
    lines += _table(heads, groups, texts=2)
    lines += _listed([f"diverged: run {run!r}: {reason}" for run, reason in summary.diverged.items()])
    return lines + _listed([f"quarantined: run {q.run!r}, step {q.step}: {q.reason}" for q in summary.quarantined])


def _numbers(group: GroupSummary) -> list[str]:
    return ["-" if value is None else f"{value:.4f}" for value in (group.lowest, group.median, group.highest)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """Aligned columns, the first `texts` of them to the left; nothing where there are no rows."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[i].ljust(width) if i < texts else row[i].rjust(width) for i, width in enumerate(widths)]
        return "  ".join(cells).rstrip()

    first, *others = map(line, (head, *rows))
    return ["", first, *_listed(others)]


def _listed(lines: list[str]) -> list[str]:
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"... and {len(lines) - SHOWN:,} more"]
