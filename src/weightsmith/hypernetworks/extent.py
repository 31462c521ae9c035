"""Extent: how large an architecture is and what it is made of, as a hypernetwork meets it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from weightsmith.graph import Operation, ParameterGraph
from weightsmith.graph.vocabulary import UNKNOWN

# Kinds that only arrange values anew: that one is new says nothing of how far weights can be trusted.
_ARRANGING = frozenset(
    {"reshape", "identity", "item", "constant", "select", "slice", "split", "unbind", "transpose", "expand", "stack"}
)
_SLIDING = frozenset({"convolution", "transposed_convolution"})


class Range(NamedTuple):
    """From the least to the most that was seen, both included."""

    least: int
    most: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


@dataclass(frozen=True)
class Extent:
    """What one architecture, or many, consist of. A range is `None` where there is nothing of its kind.

    `operations`: kinds, but for those that only arrange values. `alone`: kinds of those that read learned tensors and
    nothing that depends on an image. `activations`: PyTorch's names. Hidden units of a layer: `channels` of a
    convolution, `features` of a linear layer on a vector, `row_features` of one that is applied to each of several
    rows. `kernel`: places along a side of a kernel. `units`: of all layers together. `depth`: operations with learned
    tensors in a row. `parameters`: learned numbers.
    """

    operations: frozenset[str]
    alone: frozenset[str]
    activations: frozenset[str]
    channels: Range | None
    features: Range | None
    row_features: Range | None
    kernel: Range | None
    units: Range
    depth: Range
    parameters: Range

    @classmethod
    def of(cls, graph: ParameterGraph) -> Extent:
        """The extent of one architecture."""
        layers = list(hidden_layers(graph))
        sides = [side for operation in graph.operations for side in kernel_sides(graph, operation)]
        depth, count, units = longest(graph), parameters(graph), hidden_units(graph)
        return cls(
            frozenset(
                said_kind(graph, operation) for operation in graph.operations if counts_as_seen(graph, operation)
            ),
            frozenset(operation.kind for operation in graph.operations if reads_learned_alone(graph, operation)),
            frozenset(operation.target for operation in graph.operations if operation.kind == "activation"),
            **{of: _span([layer.units for layer in layers if layer.of == of]) for of in LAYERS},
            kernel=_span(sides),
            units=Range(units, units),
            depth=Range(depth, depth),
            parameters=Range(count, count),
        )

    @classmethod
    def joined(cls, extents: Iterable[Extent]) -> Extent:
        """What any of several holds. There must be at least one."""
        first, *others = extents
        found = {field.name: getattr(first, field.name) for field in fields(cls)}
        for other in others:
            for name, value in found.items():
                found[name] = _union(value, getattr(other, name))
        return cls(**found)


def counts_as_seen(graph: ParameterGraph, operation: Operation) -> bool:
    """Whether an operation is of a kind that a hypernetwork must have met to be trusted with it."""
    if said_kind(graph, operation) in _ARRANGING or operation.kind == UNKNOWN:
        return False
    last = any(output.name == operation.name for output in graph.outputs)
    return not (last and operation.kind == "softmax")  # of logits: it changes no prediction


def said_kind(graph: ParameterGraph, operation: Operation) -> str:
    """The kind of an operation: that of a linear layer however it is called, and another one where a sign changes."""
    if graph.matrix(operation) is not None:
        return "linear"
    if operation.target == "neg":
        return "negation"
    factor = operation.options.get("alpha", 1) if operation.kind == "add" else 1
    negative = isinstance(factor, int | float) and factor < 0
    return "subtraction" if negative or operation.target in ("sub", "rsub") else operation.kind


def reads_learned_alone(graph: ParameterGraph, operation: Operation) -> bool:
    """Whether an operation makes of learned tensors others, before anything of an image is met."""
    if operation.kind == UNKNOWN or operation.name in graph.fed:
        return False
    return any(is_learned(graph, tensor) for tensor in operation.parameters.values())


def is_learned(graph: ParameterGraph, tensor: str) -> bool:
    """Whether a tensor of the state is one that training changes."""
    return tensor in graph.tensors and graph.tensors[tensor].role != "buffer"


LayerKind = Literal["channels", "features", "row_features"]
LAYERS: tuple[LayerKind, ...] = ("channels", "features", "row_features")


class Layer(NamedTuple):
    """How many hidden units a tensor writes, and what they are: the name of a field of `Extent`."""

    weight: str
    of: LayerKind
    units: int


def hidden_layers(graph: ParameterGraph) -> Iterator[Layer]:
    """The convolutions and linear layers whose outputs are hidden units: neither classes nor places."""
    hidden = {(place.tensor, place.axis) for group in (*graph.permutations, *graph.singles) for place in group.places}
    for operation in graph.operations:
        matrix = graph.matrix(operation)
        node = matrix or graph.tensors.get(operation.parameters.get("weight", ""))
        if node is None or node.unit_axis is None or (node.name, node.unit_axis) not in hidden:
            continue
        units = node.shape[node.unit_axis]
        if operation.kind in _SLIDING:
            yield Layer(node.name, "channels", units)
        elif matrix is not None:
            yield Layer(node.name, "features" if len(operation.shapes[0]) == 2 else "row_features", units)


def hidden_units(graph: ParameterGraph) -> int:
    """Units that have a code, of all layers together."""
    return sum(group.units for group in (*graph.permutations, *graph.singles))


def longest(graph: ParameterGraph) -> int:
    """How many operations with learned tensors there are in a row."""
    return max((operation.depth for operation in graph.operations), default=0)


def kernel_sides(graph: ParameterGraph, operation: Operation) -> tuple[int, ...]:
    """The sides of a convolution's kernel; none of any other operation."""
    weight = operation.parameters.get("weight", "")
    return graph.tensors[weight].shape[2:] if operation.kind in _SLIDING and weight in graph.tensors else ()


def parameters(graph: ParameterGraph) -> int:
    """How many learned numbers there are, those that are tied counted once."""
    nodes = [node for node in graph.tensors.values() if node.role != "buffer" and node.names[0] == node.name]
    return sum(math.prod(node.shape) for node in nodes)


def _span(values: list[int]) -> Range | None:
    return Range(min(values), max(values)) if values else None


def _union(one: Range | frozenset[str] | None, other: Range | frozenset[str] | None) -> Range | frozenset[str] | None:
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return one | other
    if isinstance(one, Range) and isinstance(other, Range):
        return Range(min(one.least, other.least), max(one.most, other.most))
    return one if other is None else other
