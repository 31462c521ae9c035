"""What the numbers of a universal experiment allow to be said, in words."""

from __future__ import annotations

from typing import Any

from weightsmith.report.table import percent, ratio
from weightsmith.report.universal.summary import Summary
from weightsmith.report.universal.tables import TITLES

POOR = 0.5  # accuracy below which a network is called useless: of ten classes, chance is a tenth


def verdict(summary: Summary, headline: str) -> list[str]:
    """Sentences; each states the numbers that it rests on."""
    found = [_split(row) for row in summary.splits]
    return [*found, _poor(summary), _alike(summary)]


def headline_numbers(summary: Summary, headline: str) -> dict[str, Any]:
    """The few numbers that the experiment is about, and the verdict."""
    numbers: dict[str, Any] = {}
    for row in summary.splits:
        for name in ("median", "p05", "least", "error_overlap"):
            numbers[f"{row['split']}_{name}"] = row[name]
    costs = ("updates", "seconds", "peak_rss_mb")
    return {
        **numbers,
        **{f"training_{name}": summary.training[name] for name in costs},
        "verdict": verdict(summary, ""),
    }


def _split(row: dict[str, Any]) -> str:
    start = "" if row["start"] is None else f", where random inits score {percent(row['start'])}"
    broken = row["not_finite"]
    lost = f" {broken} compute nothing finite, and count as 0." if broken else ""
    spread = f"median; 5th percentile {percent(row['p05'])}, worst {percent(row['least'])}"
    return (
        f"{TITLES[row['split']].capitalize()}: {row['architectures']} networks without any training of their own score "
        f"{percent(row['median'])} ({spread}){start}.{lost}"
    )


def _poor(summary: Summary) -> str:
    poor = [row for row in summary.networks if (row["accuracy"] or 0.0) < POOR]
    if not poor:
        return f"None of the {len(summary.networks)} networks scores below {percent(POOR)}."
    families = ", ".join(sorted({row["family"] for row in poor}))
    return f"{len(poor)} of the {len(summary.networks)} networks score below {percent(POOR)} ({families})."


def _alike(summary: Summary) -> str:
    overlaps = [row["error_overlap"] for row in summary.networks]
    mean = sum(overlaps) / len(overlaps)
    return (
        f"Two networks for one architecture make the same mistakes to {ratio(mean)} (intersection over union of the "
        "wrong images; 1: they are one network)."
    )
