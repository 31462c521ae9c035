"""The pictures of a population experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsmith.record import Record
from weightsmith.report.figures import COLOURS, grid
from weightsmith.report.population.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MUTED = ("#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#999999")  # of baselines, beside black and vermilion


def audit_figure(records: Sequence[Record], summary: Summary, headline: str) -> Figure:
    """Every network: how far from the nearest training network, and how good; one panel a member."""
    figure, axes = grid(len(summary.members), 2, (6.0, 4.4))
    labels = {}
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
                size, front = (16, 2) if kind == "baseline" else (30, 3)
                labels[label] = axis.scatter(
                    across, up, s=size, alpha=0.7, color=colour, marker=marker, zorder=front, linewidths=0.8
                )
        axis.set(title=member, xlabel="distance to the nearest training network", ylabel="test accuracy (%)")
    if labels:
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _shown(summary: Summary, member: str, headline: str) -> list[tuple[tuple[str, str], str, str]]:
    baselines = [row["name"] for row in summary.sets if (row["member"], row["set"]) == (member, "baseline")]
    found = [(("baseline", name), MUTED[i % len(MUTED)], "^vsD<>px*"[i % 9]) for i, name in enumerate(baselines)]
    return [(("held out", ""), COLOURS[6], "o"), (("generated", headline), COLOURS[1], "o"), *found]


def wanted_figure(summary: Summary) -> Figure:
    """Achieved against wanted accuracy, a colour a member."""
    figure, (axis,) = grid(1, 1, (5.2, 4.6))
    for member, colour in zip(summary.members, COLOURS * len(summary.members), strict=False):
        rows = [row for row in summary.wanted if row["member"] == member and row["accuracy"] is not None]
        asked, found = ([100 * row[name] for row in rows] for name in ("wanted", "accuracy"))
        axis.scatter(asked, found, s=14, alpha=0.7, color=colour, label=member)
    ends = [100 * end(row["wanted"] for row in summary.wanted) for end in (min, max)]
    axis.plot(ends, ends, color="grey", linewidth=1, label="as asked")
    axis.set(xlabel="wanted accuracy (%)", ylabel="test accuracy (%)", title="Asked for by accuracy")
    axis.legend(fontsize=8)
    return figure
