"""The pictures of a population experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsmith.record import Record
from weightsmith.report.figures import COLOURS, subplots
from weightsmith.report.population.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def audit_figure(records: Sequence[Record], summary: Summary, headline: str) -> Figure:
    """Every network: how far from the nearest training network, and how good; one panel a member."""
    figure, axes = subplots(1, len(summary.members), (6.0 * len(summary.members), 4.4))
    for axis, member in zip(axes, summary.members, strict=True):
        for (kind, name), colour, marker in _shown(summary, member, headline):
            points: list[tuple[float, float]] = [
                (float(distance), 100 * float(accuracy))
                for record in records
                if record.kind == "network"
                and (record.subject["member"], record.subject["set"], record.subject["name"]) == (member, kind, name)
                and (distance := record.metrics.get("nearest_distance")) is not None
                and (accuracy := record.metrics["accuracy"]) is not None
            ]
            if points:
                label = kind if name in ("", kind) else f"{kind}: {name}"
                across, up = zip(*points, strict=True)
                axis.scatter(across, up, s=14, alpha=0.6, color=colour, marker=marker, label=label)
        axis.set(title=member, xlabel="distance to the nearest training network", ylabel="test accuracy (%)")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    return figure


def _shown(summary: Summary, member: str, headline: str) -> list[tuple[tuple[str, str], str, str]]:
    baselines = [row["name"] for row in summary.sets if (row["member"], row["set"]) == (member, "baseline")]
    keys = [("held out", ""), ("generated", headline), *(("baseline", name) for name in baselines)]
    markers = ("o", "o", *"^vsD<>px*" * (1 + len(baselines) // 9))
    return [(key, COLOURS[i % len(COLOURS)], markers[i]) for i, key in enumerate(keys)]


def wanted_figure(summary: Summary) -> Figure:
    """Achieved against wanted accuracy."""
    figure, (axis,) = subplots(1, 1, (5.2, 4.6))
    pairs = [(100 * row["wanted"], 100 * row["accuracy"]) for row in summary.wanted if row["accuracy"] is not None]
    if pairs:
        asked, found = zip(*pairs, strict=True)
        axis.scatter(asked, found, s=12, alpha=0.7, color=COLOURS[0])
        ends = [min(wanted for wanted, _ in pairs), max(wanted for wanted, _ in pairs)]
        axis.plot(ends, ends, color="grey", linewidth=1)
    axis.set(xlabel="wanted accuracy (%)", ylabel="test accuracy (%)", title="Asked for by accuracy")
    return figure
