"""The tables of a universal experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsmith.report.table import MISSING, Table, number, ratio
from weightsmith.report.universal.summary import Summary

WORST = 8
TITLES = {
    "training": "unseen instances",
    "unseen_size": "unseen size",
    "beyond": "up to 1.5 times beyond",
    "unseen_combination": "unseen combination",
    "held_out_family": "held-out family",
}


def splits_table(summary: Summary) -> Table:
    """How good networks for architectures of each split are."""
    columns = ["split", "architectures", "median %", "5th percentile %", "worst %", "random init %", "error overlap"]
    columns += ["without statistics %", "seconds"]
    rows = [
        [
            TITLES[row["split"]],
            str(row["architectures"]),
            *(_percent(row[name]) for name in ("median", "p05", "least", "start")),
            ratio(row["error_overlap"]),
            _percent(row["without_statistics"]),
            number(row["seconds"], 2),
        ]
        for row in summary.splits
    ]
    return Table("Accuracy of unselected networks, one for each architecture", columns, rows)


def families_table(summary: Summary) -> Table:
    """Median accuracies of each family in each split, with how many architectures they are of."""
    splits = [row["split"] for row in summary.splits]
    families = sorted({row["family"] for row in summary.families})
    cells = {(row["split"], row["family"]): row for row in summary.families}
    rows = [
        [family, *(_median(cells[split, family]) if (split, family) in cells else MISSING for split in splits)]
        for family in families
    ]
    return Table("Median % (worst %; architectures) by family", ["family", *(TITLES[name] for name in splits)], rows)


def worst_table(summary: Summary) -> Table:
    """The architectures whose networks do worst, of all splits."""
    worst = sorted(summary.networks, key=lambda row: row["accuracy"] or 0.0)[:WORST]
    rows = [
        [
            f"{row['family']}, {_plain(row['options'])}",
            TITLES[row["split"]],
            str(row["number"]),
            f"{row['parameters']:,}",
            _percent(row["accuracy"]),
        ]
        for row in worst
    ]
    return Table("The worst", ["architecture", "split", "number", "parameters", "accuracy %"], rows)


def training_table(summary: Summary) -> Table:
    """What the synthesizer cost."""
    found = summary.training
    columns = ["trained on", "parameters", "MB on disk", "updates", "loss", "hours", "processes", "peak RSS MB"]
    row = [
        f"{found['pool']:,} architectures ({', '.join(found['families'])}; {', '.join(found['splits'])})",
        f"{found['parameters']:,.0f}",
        f"{found['bytes'] / 1e6:.1f}",
        f"{found['updates']:,.0f}",
        number(found["loss"]),
        f"{found['seconds'] / 3600:.2f}",
        str(found["workers"]),
        MISSING if found["peak_rss_mb"] is None else f"{found['peak_rss_mb']:,.0f}",
    ]
    return Table("Training", columns, [row])


def _median(row: Mapping[str, Any]) -> str:
    return f"{_percent(row['median'])} ({_percent(row['least'])}; {row['architectures']})"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.2f}"


def _plain(options: Mapping[str, Any]) -> str:
    """Options that say something, in short."""
    return ", ".join(f"{name} {_word(value)}" for name, value in options.items() if value not in (False, "none", 0))


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)
