"""Wording: how operations, shapes, tensors and groups of a parameter graph are called in pictures and text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from weightsmith.graph import Operation, ParameterGraph
from weightsmith.graph.groups import Group
from weightsmith.graph.vocabulary import LEFT

REMEDY = f"{LEFT}; units that reach it stay in order; --strict refuses"


def shape_text(shape: Iterable[int]) -> str:
    """`2 x 7 x 3`, with `?` for a size that depends on data."""
    return "x".join("?" if size < 0 else str(size) for size in shape) or "one number"


def operation_text(operation: Operation) -> str:
    """What it is called, with the options that shape it: `conv2d 3x3 stride 2 groups 4`."""
    return " ".join([operation.target, *_geometry(operation)])


def _geometry(operation: Operation) -> list[str]:
    options, found = operation.options, []
    weight = operation.arguments.get("weight")
    if "convolution" in operation.kind and weight is not None:
        found.append(shape_text(weight.shape[2:]))
    if operation.kind == "pool" and options.get("kernel_size"):
        found.append(_compact(options["kernel_size"]))
    for slot, usual in _TELLING.items():
        value = options.get(slot)
        if value not in (None, [], ()) and not _all_are(value, usual):
            found.append(f"{slot.removeprefix('num_')} {_compact(value)}")
    return found


# Options that are worth reading, and the value at which they are not.
_TELLING: Mapping[str, Any] = {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "num_groups": None,
    "num_layers": 1,
    "bidirectional": False,
    "is_causal": False,
    "upscale_factor": None,
    "equation": None,
}


def _all_are(value: Any, usual: Any) -> bool:
    return all(part == usual for part in value) if isinstance(value, tuple | list) else value == usual


def _compact(value: Any) -> str:
    if isinstance(value, tuple | list):
        return str(value[0]) if len(set(value)) == 1 else "x".join(map(str, value))
    return str(value)


def numbered(graph: ParameterGraph) -> dict[str, int]:
    """A number for every permutation group, by its name, from 1 in the order of the operations."""
    return {group.name: i for i, group in enumerate(graph.permutations, start=1)}


def group_numbers(tensor: str, axis: int, graph: ParameterGraph) -> list[int]:
    """The numbers of the groups along an axis of a tensor, in the order in which their units first lie there."""
    numbers = numbered(graph)
    places = [
        (p.start, numbers[g.name]) for g in graph.permutations for p in g.places if (p.tensor, p.axis) == (tensor, axis)
    ]
    return list(dict.fromkeys(number for _, number in sorted(places)))


def group_text(group: Group, graph: ParameterGraph) -> str:
    """`fc1.weight:0, 8 units`, and whether they may be scaled."""
    scaled = group.name in {one.name for one in graph.scales}
    return f"{group.name}, {group.units} units" + (", scales free" if scaled else "")


def how_traced(graph: ParameterGraph) -> str:
    """One sentence on what the graph holds for, and whose shapes these are."""
    examples = graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else 1
    if graph.traced_by == "export":
        return f"exported, holds for any input; shapes are those of a batch of {examples}"
    return f"walked along the path of one batch of {examples}, whose shapes these are; other inputs may take another"


def summary(graph: ParameterGraph) -> str:
    """How much there is of everything."""
    sizes = {node.names: math.prod(node.shape) for node in graph.tensors.values() if node.role != "buffer"}
    learned = sum(sizes.values())  # tied ones once
    return ", ".join(
        [
            _count(len(graph.operations), "operation"),
            _count(len(graph.tensors), "tensor"),
            _count(learned, "parameter"),
            f"{_count(len(graph.permutations), 'group')} of units in any order, {len(graph.scales)} at any scale",
        ]
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def unused(graph: ParameterGraph) -> list[str]:
    """The tensors that no operation reads."""
    return [name for name, node in graph.tensors.items() if node.operation is None]
