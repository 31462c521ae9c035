"""The pictures of the report: each a matplotlib figure, written as PNG and embedded as SVG."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightsmith.report import published
from weightsmith.report.summary import Summary
from weightsmith.report.verdict import MEAN_BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)  # Okabe and Ito: colour-blind safe
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "weightsmith",  # equal figures, equal files
}


def steps_figure(summary: Summary) -> Figure:
    """Accuracy (from step 1 on) and loss along the steps: every budget, the original, the note's figures."""
    figure, (left, right) = _subplots(1, 2, (11, 4.2))
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


def histograms_figure(layers: Mapping[str, Any]) -> Figure:
    """The distribution of each layer's weights: random, trained and generated."""
    figure, axes = _subplots(1, len(layers), (3.4 * len(layers), 3.2))
    for axis, (name, layer) in zip(axes, layers.items(), strict=True):
        for colour, (network, density) in zip(
            (COLOURS[5], COLOURS[6], COLOURS[1]), layer["density"].items(), strict=False
        ):
            axis.stairs(density, layer["edges"], color=colour, label=network)
        axis.set(title=name, xlabel="weight", yscale="log")
    axes[0].set_ylabel("density")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(COLOURS))
    return figure


def distances_figure(labels: Sequence[str], matrix: Sequence[Sequence[float]]) -> Figure:
    """Distances among the checkpoints of the first pipeline and what was generated from it."""
    figure, (axis,) = _subplots(1, 1, (7.5, 6.2))
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


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element to stand in a page."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def as_png(figure: Figure) -> bytes:
    data = io.BytesIO()
    with _style():
        figure.savefig(data, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
    return data.getvalue()


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


def _subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    """A figure that belongs to no window, so that nothing must be closed and no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)
