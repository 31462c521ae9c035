"""Figures of the report: how they look, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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


def histograms_figure(layers: Mapping[str, Any]) -> Figure:
    """The distribution of each layer's weights: random, trained and generated."""
    figure, axes = subplots(1, len(layers), (3.4 * len(layers), 3.2))
    for axis, (name, layer) in zip(axes, layers.items(), strict=True):
        for colour, (network, density) in zip(
            (COLOURS[5], COLOURS[6], COLOURS[1]), layer["density"].items(), strict=False
        ):
            axis.stairs(density, layer["edges"], color=colour, label=network)
        axis.set(title=name, xlabel="weight", yscale="log")
    axes[0].set_ylabel("density")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(COLOURS))
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


def subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
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
