"""Canvas: lines, boxes and words in points, y downwards, on a figure of just that size."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
MARGIN = 10.0


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """How wide a text is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) if text.strip() else 0.0


@dataclass
class Canvas:
    """A figure to draw on; `origin` is added to every y."""

    figure: Figure
    axes: Axes
    origin: float = 0.0

    @classmethod
    def of(cls, width: float, height: float) -> Canvas:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=((width + 2 * MARGIN) / 72, (height + 2 * MARGIN) / 72), facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-MARGIN, width + MARGIN), ylim=(height + MARGIN, -MARGIN))
        axes.axis("off")
        return cls(figure, axes)

    def text(self, x: float, y: float, text: str, size: float, colour: str, **more: Any) -> None:
        """Words whose middle is at that height, from `x` on, or around it with `ha="center"`."""
        placed = {"va": "center_baseline", "ha": "left", **more}
        self.axes.text(x, y + self.origin, text, fontsize=size, color=colour, parse_math=False, zorder=4, **placed)

    def box(self, corner: Point, size: Point, fill: str, edge: str = "none", rounding: float = 0.0) -> None:
        """A rectangle from its upper left corner."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        x, y = corner[0], corner[1] + self.origin
        if rounding:
            style = f"round,pad=0,rounding_size={rounding}"
            shape: Any = FancyBboxPatch((x, y), *size, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=0.8)
        else:
            shape = Rectangle((x, y), *size, facecolor=fill, edgecolor=edge, linewidth=0.5)
        shape.set_zorder(3)
        self.axes.add_patch(shape)

    def edge(self, curves: Sequence[Sequence[Point]], colour: str) -> None:
        """A line through pieces, each straight (two points) or bent (four, the middle ones pull), with a head."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        points, codes = [curves[0][0]], [Path.MOVETO]
        for curve in curves:
            points += curve[1:]
            codes += [Path.LINETO if len(curve) == 2 else Path.CURVE4] * (len(curve) - 1)
        path = Path([(x, y + self.origin) for x, y in points], codes)
        style = "-|>,head_length=3.2,head_width=1.6"
        self.axes.add_patch(
            FancyArrowPatch(
                path=path,
                arrowstyle=style,
                color=colour,
                linewidth=0.9,
                joinstyle="round",
                shrinkA=0,
                shrinkB=0,
                zorder=2,
            )
        )
