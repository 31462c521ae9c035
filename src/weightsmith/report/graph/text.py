"""Text: a parameter graph as a table for terminals."""

from __future__ import annotations

from collections.abc import Iterator

from weightsmith.graph import Operation, ParameterGraph
from weightsmith.report.graph.wording import (
    REMEDY,
    group_numbers,
    group_text,
    how_traced,
    numbered,
    operation_text,
    shape_text,
    summary,
    unused,
)

Row = tuple[str, str, str, str]


def describe(graph: ParameterGraph) -> str:
    """The operations in order with the shapes they make, the tensors they read, and the groups along their axes.

    An axis of a tensor is written with the numbers of the groups that act on it, as in `8[1]`. Operations that are not
    understood are marked `!`.
    """
    rows: list[Row] = [("operation", "reads", "makes", "tensors")]
    rows += [(f"input {value.name}", "", shape_text(value.shape), "") for value in graph.inputs]
    for operation in graph.operations:
        rows += _rows(operation, graph)
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([how_traced(graph), summary(graph), "", *lines, *_below(graph)])


def _rows(operation: Operation, graph: ParameterGraph) -> Iterator[Row]:
    """A line for an operation, and one for each of its tensors beyond the first."""
    mark = "! " if operation.name in graph.opaque else ""
    reads = ", ".join(value.name for value in operation.inputs)
    tensors = [f"{name} {axes_text(name, graph)}" for name in operation.parameters.values()]
    makes = ", ".join(map(shape_text, operation.shapes))
    name = f"{mark}{operation.name}"
    described = operation_text(operation)
    name += "" if described == operation.name else f": {described}"
    yield (name, reads, makes, tensors[0] if tensors else "")
    yield from (("", "", "", tensor) for tensor in tensors[1:])


def axes_text(name: str, graph: ParameterGraph) -> str:
    """The shape of a tensor, every axis with the numbers of the groups along it."""
    shape = graph.tensors[name].shape if name in graph.tensors else ()
    found = []
    for axis, size in enumerate(shape):
        along = [str(number) for number in group_numbers(name, axis, graph)]
        found.append(f"{size}[{','.join(along)}]" if along else str(size))
    return "x".join(found) or "one number"


def _below(graph: ParameterGraph) -> Iterator[str]:
    """The groups, what is tied, what is unused, and what is not understood."""
    numbers = numbered(graph)
    if graph.permutations:
        yield "\ngroups of units in any order:"
        yield from (f"  [{numbers[group.name]}] {group_text(group, graph)}" for group in graph.permutations)
    if graph.ties:
        yield "\ntied: " + "; ".join(" = ".join(names) for names in graph.ties)
    if unused(graph):
        yield "\nread by no operation: " + ", ".join(unused(graph))
    if graph.not_understood:
        yield f"\n! not understood: {', '.join(graph.not_understood)}: {REMEDY}"
