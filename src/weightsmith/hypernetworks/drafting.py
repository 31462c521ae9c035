"""Drafting: from the groups of units of a graph, and from its operations, what a blueprint is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightsmith.graph import ParameterGraph, TensorNode
from weightsmith.graph.groups import Group, Place
from weightsmith.graph.vocabulary import PRODUCTS
from weightsmith.hypernetworks.context import FEATURES, Surroundings, tensor_features
from weightsmith.hypernetworks.plans import AxisPlan, Grid, TensorPlan, ranks


@dataclass(frozen=True)
class Draft:
    """What a graph says to a hypernetwork.

    `space_of`: the space (layer of units) of each unit, int64 `[unit]`; `group_of`: its permutation group, likewise.
    `features` float32 `[tensor, FEATURES]`. `writes` and `reads` `[space, tensor]`: which tensors' unit and input axes
    run over a space, rows summing to one or zero. `untouched`: tensors left to their standard initialisation, and why.
    """

    tensors: tuple[TensorPlan, ...]
    space_of: Tensor
    group_of: Tensor
    features: Tensor
    writes: Tensor
    reads: Tensor
    untouched: Mapping[str, str]


def draft(graph: ParameterGraph) -> Draft:
    """The draft of a graph."""
    return _Drafter(graph).draft()


class _Drafter:
    def __init__(self, graph: ParameterGraph) -> None:
        self._graph, self._around = graph, Surroundings(graph)
        self._turned: set[str] = set()
        self._first: dict[str, int] = {}  # group to its first unit
        self._space: dict[str, int] = {}
        self._places: dict[str, list[tuple[Group, Place]]] = {}
        spaces: dict[tuple[object, ...], int] = {}
        total = 0
        self._groups = (*graph.permutations, *graph.singles)  # that a unit is alone is no reason to have no code
        for group in self._groups:
            first = group.places[0]
            key = (first.tensor, first.axis, first.outer, first.inner)
            self._space[group.name] = spaces.setdefault(key, len(spaces))
            self._first[group.name] = total
            total += group.units
            for place in group.places:
                self._places.setdefault(place.tensor, []).append((group, place))
        self._matrices = {node.name: node for op in graph.operations if (node := graph.matrix(op)) is not None}

    def draft(self) -> Draft:
        """All that the graph says."""
        groups = self._groups
        nodes = [node for node in self._graph.tensors.values() if node.names[0] == node.name]
        nodes = [node for node in nodes if node.role != "buffer"]
        untouched = {node.name: _why_untouched(node) for node in nodes if _why_untouched(node)}
        nodes = [self._as_linear(node) for node in nodes if node.name not in untouched]
        writes, reads = (torch.zeros(max(self._space.values(), default=-1) + 1, len(nodes)) for _ in range(2))
        for number, node in enumerate(nodes):
            for table, axis in ((writes, node.unit_axis), (reads, node.input_axis)):
                for group, place in self._places.get(node.name, []):
                    if place.axis == axis:
                        table[self._space[group.name], number] = 1
        features = [tensor_features(self._graph, node, self._around) for node in nodes]
        return Draft(
            tuple(self._tensor(node) for node in nodes),
            torch.cat([torch.full((g.units,), self._space[g.name]) for g in groups] or [torch.zeros(0).long()]),
            torch.cat([torch.full((g.units,), i) for i, g in enumerate(groups)] or [torch.zeros(0).long()]),
            torch.stack(features) if features else torch.zeros(0, FEATURES),
            writes / writes.sum(1, keepdim=True).clamp_min(1),
            reads / reads.sum(1, keepdim=True).clamp_min(1),
            {name: str(why) for name, why in untouched.items()},
        )

    def _as_linear(self, node: TensorNode) -> TensorNode:
        """A tensor of a product as that of a linear layer, whose weight has a row a unit."""
        if node.kind == "linear_combination" and node.slot == "self" and len(node.shape) == 1:
            return replace(node, kind="linear", slot="bias")
        places = self._places.get(node.name, [])
        if node.kind not in PRODUCTS or node.name not in self._matrices or any(place.rows for _, place in places):
            return node
        node = replace(node, kind="linear", slot="weight")
        if node.unit_axis == 0:
            return node
        self._turned.add(node.name)
        self._places[node.name] = [(group, replace(place, axis=1 - place.axis)) for group, place in places]
        return replace(node, shape=node.shape[::-1], unit_axis=0, input_axis=1)

    def _tensor(self, node: TensorNode) -> TensorPlan:
        places = self._places.get(node.name, [])
        rows = sorted({place.rows for _, place in places if place.rows is not None})
        even = (
            bool(rows) and len({b - a for a, b in rows}) == 1 and (rows[0][1] - rows[0][0]) * len(rows) == node.shape[0]
        )
        blocks = len(rows) if even else 1
        ranges = rows if even else [(0, node.shape[0] if node.shape else 1)]
        axes = [
            self._axis(node, axis, ranges, [p for p in places if p[1].axis == axis]) for axis in range(len(node.shape))
        ]
        sliding = _sliding_axes(node)
        if sliding:
            axes = [*axes[: -len(sliding)], _taps(sliding)]
        fan_in = math.prod(node.shape) // node.shape[node.unit_axis] if node.unit_axis is not None else 1
        multiplies = node.kind == "multiply" or (str(node.kind).endswith("_norm") and node.slot == "weight")
        thin = len(node.shape) > 1 and sum(size > 1 for size in node.shape) <= 1 and node.kind in _ADDING
        turned = node.name in self._turned
        return TensorPlan(node.names, node.shape, blocks, tuple(axes), max(fan_in, 1), float(multiplies), thin, turned)

    def _axis(
        self, node: TensorNode, axis: int, ranges: Sequence[tuple[int, int]], places: Sequence[tuple[Group, Place]]
    ) -> AxisPlan:
        found = [self._block(node, axis, rows, places) for rows in ranges]
        slots = max(len(units) for units, _ in found)
        size = len(found[0][1])
        none = torch.full((size,), -1)
        units = tuple(torch.stack([u[i] if i < len(u) else none for u, _ in found]) for i in range(slots))
        fixed = torch.stack([positions for _, positions in found])
        count = int(fixed.max()) + 1
        if count == 1:
            return AxisPlan(units, None, None)
        return AxisPlan(units, fixed, self._grid(node, axis, count, bool(units)))

    def _block(
        self, node: TensorNode, axis: int, rows: tuple[int, int], places: Sequence[tuple[Group, Place]]
    ) -> tuple[list[Tensor], Tensor]:
        """The units along an axis in these rows, a tensor for each group that crosses another, and what is left."""
        size = rows[1] - rows[0] if axis == 0 else node.shape[axis]
        layers: list[Tensor] = []
        for group, place in places:
            if place.rows is not None and place.rows != rows:
                continue
            index = place.start + torch.arange(place.outer * place.units * place.inner)
            unit = self._first[group.name] + torch.arange(len(index)) // place.inner % place.units
            if place.rows is None and axis == 0:  # places of the whole axis, of which these rows are a part
                index = index - rows[0]
                inside = (index >= 0) & (index < size)
                index, unit = index[inside], unit[inside]
            for layer in layers:
                if bool((layer[index] < 0).all()):
                    layer[index] = unit
                    break
            else:
                layers.append(torch.full((size,), -1))
                layers[-1][index] = unit
        return layers, _rank_among_equals(layers, size)

    def _grid(self, node: TensorNode, axis: int, count: int, has_units: bool) -> Grid:
        assert node.operation is not None
        operation = self._graph.operation(node.operation)
        if axis == node.unit_axis and not has_units and "end" in self._around.after(operation):
            return Grid("outputs", 1, count)
        for maker in self._around.makers(operation):
            for shape in [*(value.shape for value in maker.inputs), *maker.shapes]:
                for extra in (0, 1):
                    if len(shape) >= 4 and shape[-1] > 1 and shape[-2] * shape[-1] == count - extra:
                        return Grid("positions", shape[-2], shape[-1], extra)
        if has_units or (len(node.shape) > 2 and axis == node.input_axis):
            return Grid("slots", 1, count)
        return Grid("sequence", 1, count)


_ADDING = ("add", "layer_norm", "rms_norm", "linear_combination")


def _why_untouched(node: TensorNode) -> str | None:
    if node.operation is None:
        return "no operation reads it"
    if node.kind == "unknown":
        return f"the operation that reads it ({node.operation}) is not understood"
    if 0 in node.shape:
        return "it is empty"
    return None


def _sliding_axes(node: TensorNode) -> tuple[int, ...]:
    convolved = node.kind in ("convolution", "transposed_convolution") and node.slot == "weight"
    return node.shape[2:] if convolved else ()


def _taps(sizes: tuple[int, ...]) -> AxisPlan:
    count = math.prod(sizes)
    if count == 1:
        return AxisPlan((), None, None)
    return AxisPlan((), torch.arange(count)[None], Grid("taps", count // sizes[-1], sizes[-1]))


def _rank_among_equals(layers: Sequence[Tensor], size: int) -> Tensor:
    """For each index how many before it have the same units: what tells apart those that the units do not."""
    if not layers:
        return torch.arange(size)
    _, labels = torch.unique(torch.stack(list(layers), 1), dim=0, return_inverse=True)
    return ranks(labels)
