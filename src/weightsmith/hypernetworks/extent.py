"""Extent: how large an architecture is and what it is made of, as a hypernetwork meets it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

from weightsmith.graph import Operation, ParameterGraph
from weightsmith.graph.vocabulary import UNKNOWN
from weightsmith.hypernetworks.blueprint import Blueprint

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

    `operations`: kinds, but for those that only arrange values. `activations`: PyTorch's names. `layer_units`: units of
    a layer. `kernel`: places along a side of a kernel. `units`: of all layers together. `depth`: operations with
    learned tensors in a row. `parameters`: learned numbers.
    """

    operations: frozenset[str]
    activations: frozenset[str]
    layer_units: Range | None
    kernel: Range | None
    units: Range
    depth: Range
    parameters: Range

    @classmethod
    def of(cls, graph: ParameterGraph, blueprint: Blueprint) -> Extent:
        """The extent of one architecture."""
        counts = layer_units(blueprint)
        sides = [side for plan in graph.operations for side in kernel_sides(graph, plan)]
        depth = max((operation.depth for operation in graph.operations), default=0)
        count = parameters(graph)
        return cls(
            frozenset(operation.kind for operation in graph.operations if counts_as_seen(graph, operation)),
            frozenset(operation.target for operation in graph.operations if operation.kind == "activation"),
            _span(counts),
            _span(sides),
            Range(blueprint.units, blueprint.units),
            Range(depth, depth),
            Range(count, count),
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
    if operation.kind in _ARRANGING or operation.kind == UNKNOWN:
        return False
    last = any(output.name == operation.name for output in graph.outputs)
    return not (last and operation.kind == "softmax")  # of logits: it changes no prediction


def layer_units(blueprint: Blueprint) -> list[int]:
    """How many units each space has."""
    return blueprint.space_of.bincount(minlength=blueprint.spaces).tolist() if blueprint.units else []


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
