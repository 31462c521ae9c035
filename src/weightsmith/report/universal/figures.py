"""The pictures of a universal experiment."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsmith.report.figures import COLOURS, subplots
from weightsmith.report.universal.summary import Rows, Summary
from weightsmith.report.universal.tables import TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TICKS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)
_SPREAD = 0.28  # of points beside the middle of their column


def accuracies_figure(summary: Summary) -> Figure:
    """Every network's accuracy, a point each, by split and family; the error is on a logarithmic scale."""
    columns = [(row["split"], row["family"]) for row in summary.families]
    splits = [row["split"] for row in summary.splits]
    figure, (axis,) = subplots(1, 1, (max(6.0, 0.62 * len(columns) + 2.5), 4.8))
    for place, (split, family) in enumerate(columns):
        rows = [row for row in summary.networks if (row["split"], row["family"]) == (split, family)]
        errors = [100 * (1 - (row["accuracy"] or 0.0)) for row in rows]
        across = [
            place + _SPREAD * (2 * i / max(len(rows) - 1, 1) - 1) if len(rows) > 1 else place for i in range(len(rows))
        ]
        colour = COLOURS[splits.index(split) % len(COLOURS)]
        axis.scatter(across, [max(error, 1e-2) for error in errors], s=14, alpha=0.75, color=colour, linewidths=0)
        axis.hlines(max(statistics.median(errors), 1e-2), place - 0.4, place + 0.4, color=colour)
    for split in splits:
        axis.scatter([], [], s=24, color=COLOURS[splits.index(split) % len(COLOURS)], label=TITLES[split])
    starts = [100 * (1 - row["start"]) for row in summary.splits if row["start"] is not None]
    if starts:
        axis.axhline(statistics.fmean(starts), color="grey", linestyle=":", label="random init (median)")
    axis.set_xticks(range(len(columns)), [family for _, family in columns], rotation=60, ha="right")
    axis.set(ylabel="test error (%)", title="Networks for architectures that were not trained on")
    _in_percent(axis)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def curve_figure(summary: Summary) -> Figure:
    """The training loss, and the error on validation images of architectures of each split, along the updates."""
    watched = [row for row in summary.curve if row.get("monitors")]
    figure, axes = subplots(1, 2 if watched else 1, (11 if watched else 5.5, 4.2))
    known = [row for row in summary.curve if row.get("loss") is not None]
    axes[0].plot([row["updates"] for row in known], [row["loss"] for row in known], color=COLOURS[0], linewidth=1)
    axes[0].set(xlabel="updates", ylabel="cross-entropy (nats an image)", title="Training loss", ylim=(0, None))
    if watched:
        _watched(axes[1], watched, [row["split"] for row in summary.splits])
    return figure


def _watched(axis: Axes, rows: Rows, splits: Sequence[str]) -> None:
    for colour, split in zip(COLOURS, splits, strict=False):
        values = [(row["updates"], row["monitors"].get(f"validation.{split}")) for row in rows]
        points = [(updates, 100 * (1 - value)) for updates, value in values if value is not None]
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, marker=".", label=TITLES[split])
    axis.set(xlabel="updates", ylabel="validation error (%)", title="Watched while training (median)")
    _in_percent(axis)
    axis.legend(fontsize=8)


def _in_percent(axis: Axes) -> None:
    """A logarithmic scale of errors up to all of them."""
    from matplotlib.ticker import NullFormatter

    axis.set_yscale("log")
    least = axis.get_ylim()[0]
    shown = [tick for i, tick in enumerate(_TICKS) if tick >= least or i + 1 == len(_TICKS) or _TICKS[i + 1] >= least]
    axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(shown[0] * 0.9, 110)
