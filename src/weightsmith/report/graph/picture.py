"""Picture: a parameter graph as one drawing, from the input down."""

from __future__ import annotations

import itertools
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import BadInput
from weightsmith.files import write_bytes
from weightsmith.graph import ParameterGraph
from weightsmith.report.figures import as_png, as_svg
from weightsmith.report.graph.blocks import ALARM, BODY, CELL, HEAD, INK, LINE, QUIET, Block, draw_cell, legend_cell
from weightsmith.report.graph.boxes import boxes_of
from weightsmith.report.graph.canvas import Canvas, Point, text_width
from weightsmith.report.graph.layered import BETWEEN, GUTTER, LANE, Drawing, layered
from weightsmith.report.graph.wording import REMEDY, group_text, how_traced, summary, unused

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TALLEST = 760.0  # points: a drawing that is longer is cut into columns
NARROWEST = 470.0
LINE_COLOUR = "#7b8794"


def picture(graph: ParameterGraph, path: Path | str, title: str = "") -> None:
    """Write a picture of a graph, PNG or SVG by the suffix of its path.

    Boxes are operations in the order of their depth, each with the shape that it makes and, beside it, the tensors that
    it reads. An axis of a tensor has the colour and number of the groups of units along it. Operations that are not
    understood are red. Raises `BadInput` for another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise BadInput(f"no picture can be written as {path.name!r}", "end its name with .png or .svg")
    figure = graph_figure(graph, title)
    write_bytes(path, as_png(figure) if suffix == ".png" else as_svg(figure).encode())


def graph_figure(graph: ParameterGraph, title: str = "") -> Figure:
    """The picture as a figure."""
    boxes = boxes_of(graph)
    blocks = [Block.of(box, graph) for box in boxes]
    edges = [(maker, i) for i, box in enumerate(boxes) for maker in box.reads]
    drawing = layered([(block.width, block.height, block.box_width / 2) for block in blocks], edges, TALLEST)
    width = max(drawing.width, NARROWEST)
    heading, notes = _heading(graph, title, width), _notes(graph, width)
    legend = _Legend(graph, width)
    above, below = LINE * len(heading) + BETWEEN + drawing.margin, drawing.margin + BETWEEN
    canvas = Canvas.of(width, above + drawing.height + below + legend.height + LINE * (len(notes) + 1))
    _write(canvas, heading)
    canvas.origin = above
    _draw_edges(canvas, drawing)
    for node, block in zip(drawing.nodes, blocks, strict=False):
        block.draw(canvas, (node.x - node.anchor, node.top))
    canvas.origin += drawing.height + below
    legend.draw(canvas)
    canvas.origin += legend.height
    _write(canvas, notes)
    return canvas.figure


Words = list[tuple[str, str, bool]]  # text, colour, bold


def _heading(graph: ParameterGraph, title: str, width: float) -> Words:
    words = [(title, INK, True)] if title else []
    for text in (summary(graph), how_traced(graph)):
        words += [(line, QUIET, False) for line in _lines(text, width)]
    return words


def _notes(graph: ParameterGraph, width: float) -> Words:
    """What stands below: what is not understood and what will be done about it, what nothing reads."""
    words: Words = []
    if graph.not_understood:
        text = f"not understood: {', '.join(graph.not_understood)}: {REMEDY}"
        words += [(line, ALARM, True) for line in _lines(text, width)]
    if unused(graph):
        words += [(line, QUIET, False) for line in _lines(f"read by no operation: {', '.join(unused(graph))}", width)]
    return words


def _lines(text: str, width: float) -> list[str]:
    letters = max(20, int(len(text) * 0.94 * width / max(1.0, text_width(text, BODY, bold=True))))
    return textwrap.wrap(text, letters)


def _write(canvas: Canvas, words: Words) -> None:
    for i, (text, colour, bold) in enumerate(words):
        size = HEAD if bold and colour == INK else BODY
        canvas.text(0, LINE * (i + 0.5), text, size, colour, fontweight="bold" if bold else "normal")


class _Legend:
    """The groups: a cell of each one's colour with its number, and where it is first met; as many abreast as fit."""

    def __init__(self, graph: ParameterGraph, width: float) -> None:
        self._entries = [(legend_cell(graph, g.name), group_text(g, graph)) for g in graph.permutations]
        widest = max((cell.width + text_width(text, BODY) for cell, text in self._entries), default=0.0)
        self._pitch = widest + 20
        self._abreast = max(1, int((width + 20) // self._pitch)) if self._entries else 1
        self._rows = math.ceil(len(self._entries) / self._abreast)

    @property
    def height(self) -> float:
        return (self._rows + 1) * (CELL + 2) + LINE / 2 if self._entries else 0.0

    def draw(self, canvas: Canvas) -> None:
        if self._entries:
            canvas.text(0, CELL / 2, "groups of units in any order", BODY, INK, fontweight="bold")
        for i, (cell, text) in enumerate(self._entries):
            column, row = divmod(i, self._rows)
            x, y = column * self._pitch, (row + 1) * (CELL + 2)
            draw_cell(canvas, cell, (x, y))
            canvas.text(x + cell.width + 4, y + CELL / 2, text, BODY, QUIET)


def _draw_edges(canvas: Canvas, drawing: Drawing) -> None:
    lanes: dict[int, dict[int, int]] = {}  # of each column, by the node that an edge comes from
    for chain in drawing.chains:
        curves: list[list[Point]] = []
        for above, below in itertools.pairwise(chain):
            one, other = drawing.nodes[above], drawing.nodes[below]
            start, end = (one.x, one.top + one.height), (other.x, other.top)
            if one.item is None:
                curves.append([(one.x, one.top), start])
            if one.column == other.column:
                middle = (start[1] + end[1]) / 2
                curves.append([start, (start[0], middle), (end[0], middle), end])
            else:
                taken = lanes.setdefault(one.column, {})
                curves += _across(drawing, start, end, one.column, taken.setdefault(above, len(taken)))
        canvas.edge(curves, LINE_COLOUR)


def _across(drawing: Drawing, start: Point, end: Point, column: int, lane: int) -> list[list[Point]]:
    """Under the column, up between it and the next, and down from above."""
    right = max(node.x - node.anchor + node.width for node in drawing.nodes if node.column == column)
    bottom = max(node.top + node.height for node in drawing.nodes if node.column == column)
    x, low, high = right + GUTTER / 3 + lane * LANE, bottom + 6 + lane * LANE, -6 - lane * LANE
    corners = [start, (start[0], low), (x, low), (x, high), (end[0], high), end]
    return [[a, b] for a, b in itertools.pairwise(corners)]
