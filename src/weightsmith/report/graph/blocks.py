"""Blocks: what is drawn for one box, its words and the tensors beside it, and how large that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from weightsmith.graph import ParameterGraph
from weightsmith.report.graph.boxes import Box
from weightsmith.report.graph.canvas import Canvas, Point, text_width
from weightsmith.report.graph.wording import group_numbers, numbered, operation_text, shape_text

HEAD, BODY, SMALL = 8.5, 7.5, 6.5  # sizes of text, points
LINE, PAD, CELL = 11.0, 5.0, 11.5
LONGEST, WIDEST = 36, 46  # letters of a tensor's name, and of a line
INK, QUIET, ALARM = "#1a1a1a", "#5b6470", "#c1121f"
_FILLS = {"end": "#374151", "learned": "#dfe7f3", "plain": "#f3f4f6", "opaque": ALARM}
_EDGES = {"end": "#374151", "learned": "#5f7ea8", "plain": "#b8bec8", "opaque": ALARM}
# Pale enough for dark text, each told from its neighbours; after the last, the first is used again.
COLOURS = ("#9ecae9", "#ffbf79", "#88d27a", "#ff9d98", "#d6a5c9", "#f2cf5b", "#83bcb6", "#d8b5a5", "#b4b9f2", "#c9e265")
UNGROUPED = "#e5e7eb"


def colour_of(group: int) -> str:
    """The colour of a group by its number."""
    return COLOURS[(group - 1) % len(COLOURS)]


@dataclass(frozen=True)
class Cell:
    """One axis of a tensor: its size, and the groups along it."""

    text: str
    colours: tuple[str, ...]

    @property
    def width(self) -> float:
        return text_width(self.text, SMALL) + 6.0


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, and a cell for every axis."""

    name: str
    cells: tuple[Cell, ...]

    @cached_property
    def name_width(self) -> float:
        return text_width(self.name, SMALL) + PAD

    @property
    def width(self) -> float:
        return self.name_width + sum(cell.width for cell in self.cells)


@dataclass(frozen=True)
class Block:
    """A box's lines, of which the first is its head, and its tensors."""

    lines: tuple[str, ...]
    kind: str
    tensors: tuple[Tensor, ...]

    @classmethod
    def of(cls, box: Box, graph: ParameterGraph) -> Block:
        if box.end:
            return cls((box.end, shape_text(box.shape)), "end", ())
        words = [operation_text(operation) for operation in box.operations]
        opaque = bool(box.names & graph.opaque)
        kind = "opaque" if opaque else "learned" if box.tensors else "plain"
        after = ["not understood"] if opaque else _wrapped(words[1:])
        shapes = [shape_text(shape) for shape in dict.fromkeys(box.operations[-1].shapes)]
        makes = ["→ " + ", ".join(shapes)] if shapes else []
        return cls((_short(words[0], WIDEST), *after, *makes), kind, tuple(_tensor(n, graph) for n in box.tensors))

    @cached_property
    def box_width(self) -> float:
        rest = max((text_width(line, BODY) for line in self.lines[1:]), default=0.0)
        return max(text_width(self.lines[0], HEAD, bold=True), rest) + 2 * PAD

    @cached_property
    def width(self) -> float:
        return self.box_width + max((PAD + tensor.width for tensor in self.tensors), default=0.0)

    @property
    def height(self) -> float:
        return max(len(self.lines) * LINE + PAD, len(self.tensors) * (CELL + 1.5))

    def draw(self, canvas: Canvas, corner: Point) -> None:
        """From the upper left corner."""
        left, top = corner
        canvas.box(corner, (self.box_width, self.height), _FILLS[self.kind], _EDGES[self.kind], rounding=3)
        dark = self.kind in ("end", "opaque")
        start = top + (self.height - len(self.lines) * LINE) / 2 + LINE / 2
        for i, line in enumerate(self.lines):
            size, weight = (HEAD, "bold") if i == 0 else (BODY, "normal")
            colour = "white" if dark else INK if i == 0 else QUIET
            middle = left + self.box_width / 2
            canvas.text(middle, start + i * LINE, line, size, colour, ha="center", fontweight=weight)
        y = top + (self.height - len(self.tensors) * (CELL + 1.5)) / 2
        for tensor in self.tensors:
            _draw_tensor(canvas, tensor, (left + self.box_width + PAD, y))
            y += CELL + 1.5


def _draw_tensor(canvas: Canvas, tensor: Tensor, corner: Point) -> None:
    x, y = corner
    canvas.text(x, y + CELL / 2, tensor.name, SMALL, QUIET)
    x += tensor.name_width
    for cell in tensor.cells:
        draw_cell(canvas, cell, (x, y))
        x += cell.width


def draw_cell(canvas: Canvas, cell: Cell, corner: Point) -> None:
    """A size on the colours of its groups, side by side."""
    x, y = corner
    share = cell.width / len(cell.colours)
    for i, colour in enumerate(cell.colours):
        canvas.box((x + i * share, y), (share, CELL), colour)
    canvas.box(corner, (cell.width, CELL), "none", "white")
    canvas.text(x + cell.width / 2, y + CELL / 2, cell.text, SMALL, INK, ha="center")


def _tensor(name: str, graph: ParameterGraph) -> Tensor:
    node = graph.tensors.get(name)
    label = " = ".join(node.names) if node is not None else name
    if node is None or not node.shape:
        return Tensor(
            _short(label, LONGEST), (Cell("one number" if node is not None else "whole numbers", (UNGROUPED,)),)
        )
    return Tensor(_short(label, LONGEST), tuple(_cell(size, name, i, graph) for i, size in enumerate(node.shape)))


def _cell(size: int, name: str, axis: int, graph: ParameterGraph) -> Cell:
    along = group_numbers(name, axis, graph)
    raised = "".join(str(number).translate(_RAISED) + " " for number in along).strip()
    return Cell(f"{size}{raised}", tuple(map(colour_of, along)) or (UNGROUPED,))


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def legend_cell(graph: ParameterGraph, name: str) -> Cell:
    """The cell that stands for a group in the legend."""
    number = numbered(graph)[name]
    return Cell(str(number), (colour_of(number),))


def _wrapped(words: list[str]) -> list[str]:
    """What follows in a box, several to a line."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < WIDEST - 8:
            lines[-1] += f" · {word}"
        else:
            lines.append(_short(word, WIDEST))
    return lines


def _short(text: str, longest: int) -> str:
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"
