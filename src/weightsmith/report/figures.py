"""Figures of the report: how they look, and how they are written."""

from __future__ import annotations

import io
import math
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


NETWORKS = {  # the colours of networks whose names begin so, first to last
    "random": COLOURS[5],
    "training": COLOURS[0],
    "trained": COLOURS[6],
    "held out": COLOURS[6],
    "generated": COLOURS[1],
}


def histograms_figure(layers: Mapping[str, Any], title: str = "") -> Figure:
    """The distribution of each layer's weights in some networks; their names begin as in `NETWORKS`."""
    from matplotlib.ticker import NullFormatter

    figure, axes = grid(len(layers), 4, (3.4, 3.2))
    for i, (axis, (name, layer)) in enumerate(zip(axes, layers.items(), strict=True)):
        density = layer["density"]
        for kind, colour in NETWORKS.items():
            for network in (network for network in density if network.startswith(kind)):
                axis.stairs(density[network], layer["edges"], color=colour, label=network)
        axis.set(title=name, xlabel="weight", yscale="log", ylabel="" if i % 4 else "density")
        axis.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(NETWORKS))
    if title:
        figure.suptitle(title)
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


def grid(panels: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels of `size`, in rows of at most `columns`."""
    columns = min(panels, columns)
    rows = math.ceil(panels / columns)
    figure, axes = subplots(rows, columns, (size[0] * columns, size[1] * rows))
    for axis in axes[panels:]:
        axis.remove()
    return figure, axes[:panels]


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)
