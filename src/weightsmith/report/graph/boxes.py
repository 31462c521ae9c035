"""Boxes: the operations of a graph gathered to what a person reads as one step.

An operation without tensors of its own that reads one value alone (an activation, a reshape, a pool) joins the box that
makes this value, where nothing else reads it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from weightsmith.graph import Operation, ParameterGraph, Value


@dataclass
class Box:
    """Operations in a row; `reads`: the positions of the boxes before it, once for each value that it reads."""

    operations: list[Operation]
    shape: tuple[int, ...]
    reads: list[int]
    tensors: list[str] = field(default_factory=list)
    end: str = ""  # of an input or an output: its name

    @property
    def names(self) -> set[str]:
        return {operation.name for operation in self.operations}


def boxes_of(graph: ParameterGraph) -> list[Box]:
    """The boxes in order: inputs, steps, outputs."""
    boxes = [Box([], value.shape, [], end=value.name) for value in graph.inputs]
    made = {value.name: i for i, value in enumerate(graph.inputs)}
    readers = Counter(value.name for operation in graph.operations for value in operation.values)
    readers.update(value.name for value in graph.outputs)
    for operation in graph.operations:
        before = list(dict.fromkeys(made[value.name] for value in operation.inputs if value.name in made))
        if operation.kind == "item":  # one output of several belongs where it was made
            made[operation.name] = before[0]
            continue
        joins = _joins(operation, boxes, before, readers, graph)
        position = before[0] if joins else len(boxes)
        if not joins:
            boxes.append(Box([], (), before))
        box = boxes[position]
        box.operations.append(operation)
        box.shape = operation.shapes[0] if operation.shapes else ()
        box.tensors += [name for name in operation.parameters.values() if name not in box.tensors]
        made[operation.name] = position
    return boxes + [_output(value, i, graph, made) for i, value in enumerate(graph.outputs)]


def _joins(
    operation: Operation, boxes: list[Box], before: list[int], readers: Counter[str], graph: ParameterGraph
) -> bool:
    """Whether it goes on in the one box that it reads, from where that box ended."""
    if len(before) != 1 or operation.name in graph.opaque:
        return False
    box, read = boxes[before[0]], {value.name for value in operation.inputs}
    if not box.operations or box.names & graph.opaque or read != {box.operations[-1].name}:
        return False
    if operation.parameters and operation.kind not in _FOLLOWING:
        return False
    return readers[box.operations[-1].name] == sum(value.name in read for value in operation.values)


_FOLLOWING = frozenset({"batch_norm", "prelu"})  # these belong to the layer in front of them


def _output(value: Value, position: int, graph: ParameterGraph, made: dict[str, int]) -> Box:
    name = "output" if len(graph.outputs) == 1 else f"output {position + 1}"
    return Box([], value.shape, [made[value.name]] if value.name in made else [], end=name)
