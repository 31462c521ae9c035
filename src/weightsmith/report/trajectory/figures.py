"""The pictures of a trajectory experiment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightsmith.report.figures import COLOURS, subplots
from weightsmith.report.trajectory import published
from weightsmith.report.trajectory.summary import Summary
from weightsmith.report.trajectory.verdict import MEAN_BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def steps_figure(summary: Summary) -> Figure:
    """Accuracy (from step 1 on) and loss along the steps: every budget, the original, the note's figures."""
    figure, (left, right) = subplots(1, 2, (11, 4.2))
    for colour, budget in zip(itertools.cycle(COLOURS), summary.budgets, strict=False):
        _curve(left, summary, budget, "accuracy", colour, 100.0, first=1)
        _curve(right, summary, budget, "loss", colour, 1.0, first=0)
    steps = [row["step"] for row in summary.originals]
    style: dict[str, Any] = {"color": "black", "marker": "x", "linestyle": "--", "label": "original training (epoch)"}
    left.plot(steps[1:], _values(summary.originals[1:], "accuracy_mean", 100.0), **style)
    right.plot(steps, _values(summary.originals, "loss_mean"), **style)
    if summary.comparable_to_note:
        points = [(step, 100 * accuracy) for step, (accuracy, _) in published.GENERATED.items() if step]
        left.plot(*zip(*points, strict=True), color="grey", marker=".", linestyle=":", label="the note, as published")
    mean = next(row for row in summary.baselines if row["name"] == MEAN_BASELINE)
    left.axhline(
        _values([mean], "accuracy_mean", 100.0)[0], color="grey", linewidth=1, label=f"no model: {MEAN_BASELINE}"
    )
    left.set(xlabel="generative step or epoch", ylabel="test accuracy (%)", title="Accuracy (step 0 is chance)")
    right.set(xlabel="generative step or epoch", ylabel="cross-entropy (nats an image)", title="Loss", yscale="log")
    left.legend(fontsize=8)
    return figure


def distances_figure(labels: Sequence[str], matrix: Sequence[Sequence[float]]) -> Figure:
    """Distances among the checkpoints of the first pipeline and what was generated from it."""
    figure, (axis,) = subplots(1, 1, (7.5, 6.2))
    image = axis.imshow(matrix, cmap="viridis")
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.grid(False)
    middle = max(map(max, matrix)) / 2
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            axis.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=5.5,
                color="white" if value < middle else "black",
            )
    figure.colorbar(image, ax=axis, label="distance (relative)")
    axis.set_title("Distances among checkpoints and samples (pipeline 0)")
    return figure


def _curve(axis: Axes, summary: Summary, budget: str, metric: str, colour: str, factor: float, first: int) -> None:
    rows = [row for step in range(first, summary.last_step + 1) if (row := summary.step(budget, step))]
    means, deviations = _values(rows, f"{metric}_mean", factor), _values(rows, f"{metric}_std", factor)
    steps = [row["step"] for row in rows]
    axis.errorbar(
        steps, means, deviations, color=colour, marker="o", markersize=4, capsize=3, label=f"generated, {budget}"
    )


def _values(rows: Sequence[Mapping[str, Any]], key: str, factor: float = 1.0) -> list[float]:
    """Numbers to plot; what was not measured leaves a gap."""
    return [math.nan if row[key] is None else factor * row[key] for row in rows]
