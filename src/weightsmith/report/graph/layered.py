"""Layered drawing of a directed graph: layers from top to bottom, few crossings, edges straight where they can be.

After Sugiyama, Tagawa and Toda (1981): layers by the longest path, dummies where an edge passes a layer, orders by
barycentres, positions by least squares under the order. Long drawings are cut into columns where few edges pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

GAP = 16.0  # between neighbours of a layer
BETWEEN = 20.0  # layers
GUTTER = 34.0  # between columns
SWEEPS, STRAIGHTENINGS = 8, 120
LANE = 4.0  # between edges that go to the next column side by side
SLIM = 6.0  # the width that an edge takes where it passes a layer


@dataclass
class Node:
    """Something with a size; its centre and top are found. A dummy has no position in what is drawn."""

    width: float
    height: float
    anchor: float  # from its left end to where edges meet it
    item: int | None = None
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    x: float = 0.0  # of the anchor
    top: float = 0.0
    layer: int = 0
    column: int = 0


@dataclass(frozen=True)
class Drawing:
    """Nodes with their places (y downwards), the items first, in order; chains: the edges, as nodes."""

    nodes: list[Node]
    chains: list[list[int]]
    width: float
    height: float
    crossings: list[int]  # of each column: nodes from which edges go to the next one

    @property
    def margin(self) -> float:
        """What edges that go from column to column need above and below."""
        return LANE * max(self.crossings)


def layered(sizes: Sequence[tuple[float, float, float]], edges: Sequence[tuple[int, int]], tallest: float) -> Drawing:
    """Place items of `(width, height, anchor)`, given makers first, in columns of about that height."""
    nodes = [Node(*size, item=i) for i, size in enumerate(sizes)]
    _assign_layers(nodes, edges)
    chains = [_chain(nodes, start, end) for start, end in dict.fromkeys(edges)]
    layers: list[list[int]] = [[] for _ in range(1 + max(node.layer for node in nodes))]
    for i, node in enumerate(nodes):
        layers[node.layer].append(i)
    _order(nodes, layers)
    columns = _columns(nodes, layers, chains, tallest)
    for number, column in enumerate(columns):
        for i in (i for layer in column for i in layer):
            nodes[i].column = number
    crossings = _crossings(nodes, chains, len(columns))
    right, height, gutter = 0.0, 0.0, 0.0
    for column, crossed in zip(columns, crossings, strict=True):
        _place(nodes, column)
        right = _shift(nodes, column, right + gutter)
        height = max(height, _stack(nodes, column))
        gutter = GUTTER + LANE * crossed
    return Drawing(nodes, chains, right, height, crossings)


def _crossings(nodes: list[Node], chains: list[list[int]], columns: int) -> list[int]:
    steps = {step for chain in chains for step in itertools.pairwise(chain)}
    leaving = {above for above, below in steps if nodes[above].column != nodes[below].column}
    return [sum(nodes[above].column == column for above in leaving) for column in range(columns)]


def _assign_layers(nodes: list[Node], edges: Sequence[tuple[int, int]]) -> None:
    """As near to the beginning as its makers allow; what has no maker stands just in front of what reads it."""
    makers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for start, end in edges:
        makers.setdefault(end, []).append(start)
        readers.setdefault(start, []).append(end)
    for i, node in enumerate(nodes):
        node.layer = max((nodes[maker].layer + 1 for maker in makers.get(i, ())), default=0)
    for i, node in enumerate(nodes):
        if i not in makers and i in readers:
            node.layer = min(nodes[reader].layer for reader in readers[i]) - 1


def _chain(nodes: list[Node], start: int, end: int) -> list[int]:
    """The nodes that an edge passes, with dummies in the layers between."""
    chain = [start]
    for layer in range(nodes[start].layer + 1, nodes[end].layer):
        nodes.append(Node(SLIM, 0.0, SLIM / 2, layer=layer))
        chain.append(len(nodes) - 1)
    chain.append(end)
    for above, below in itertools.pairwise(chain):
        nodes[above].below.append(below)
        nodes[below].above.append(above)
    return chain


def _order(nodes: list[Node], layers: list[list[int]]) -> None:
    """Sort every layer by the mean position of its neighbours, downwards and upwards in turn."""
    position = {i: float(at) for layer in layers for at, i in enumerate(layer)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = {}
            for i in layer:
                near = nodes[i].above if down else nodes[i].below
                wanted[i] = sum(position[j] for j in near) / len(near) if near else position[i]
            layer.sort(key=lambda i: wanted[i])
            position |= {i: float(at) for at, i in enumerate(layer)}


def _columns(
    nodes: list[Node], layers: list[list[int]], chains: list[list[int]], tallest: float
) -> list[list[list[int]]]:
    """Cut the layers into columns, each near the height asked for, where the fewest edges pass."""
    heights = [max(nodes[i].height for i in layer) + BETWEEN for layer in layers]
    count = max(1, round(sum(heights) / tallest + 0.3))
    passing = [len({i for chain in chains for i in chain[:-1] if nodes[i].layer == at}) for at in range(len(layers))]
    found, start = [], 0
    for number in range(1, count):
        target = sum(heights) * number / count
        near = [i for i in range(start, len(layers) - 1) if abs(sum(heights[: i + 1]) - target) < 0.12 * tallest]
        if near:
            cut = min(near, key=lambda i: (passing[i], abs(sum(heights[: i + 1]) - target)))
            found.append(layers[start : cut + 1])
            start = cut + 1
    return [*found, layers[start:]]


def _place(nodes: list[Node], column: list[list[int]]) -> None:
    """Every node below its makers and above its readers, as far as the order and the widths allow."""
    inside = {i for layer in column for i in layer}
    for layer in column:
        _settle(nodes, layer, dict.fromkeys(layer, 0.0))
    for sweep in range(STRAIGHTENINGS):
        for layer in column if sweep % 2 == 0 else reversed(column):
            wanted = {}
            for i in layer:
                near = [
                    (nodes[j].x, _pull(nodes[i], nodes[j])) for j in (*nodes[i].above, *nodes[i].below) if j in inside
                ]
                total = sum(pull for _, pull in near)
                wanted[i] = sum(x * pull for x, pull in near) / total if near else nodes[i].x
            _settle(nodes, layer, wanted)


def _pull(one: Node, other: Node) -> float:
    """How much a node wants to stand in line with a neighbour: long edges give way to what is drawn."""
    if other.item is None:
        return 0.1 if one.item is not None else 2.0
    return 1.0


def _settle(nodes: list[Node], layer: list[int], wanted: dict[int, float]) -> None:
    """The positions nearest to those wanted that keep the order and the gaps (pool adjacent violators)."""
    offsets = [0.0]
    for i, j in itertools.pairwise(layer):
        offsets.append(offsets[-1] + nodes[i].width - nodes[i].anchor + GAP + nodes[j].anchor)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many nodes
    for i, offset in zip(layer, offsets, strict=True):
        mean, weight, size = wanted[i] - offset, 0.05 if nodes[i].item is None else 1.0, 1
        while blocks and blocks[-1][0] >= mean:
            before, other, count = blocks.pop()
            mean = (mean * weight + before * other) / (weight + other)
            weight, size = weight + other, size + count
        blocks.append((mean, weight, size))
    means = [mean for mean, _, size in blocks for _ in range(size)]
    for i, offset, mean in zip(layer, offsets, means, strict=True):
        nodes[i].x = mean + offset


def _shift(nodes: list[Node], column: list[list[int]], left: float) -> float:
    """Move a column to begin at `left`; where it ends."""
    members = [nodes[i] for layer in column for i in layer]
    shift = left - min(node.x - node.anchor for node in members)
    for node in members:
        node.x += shift
    return max(node.x - node.anchor + node.width for node in members)


def _stack(nodes: list[Node], column: list[list[int]]) -> float:
    """Put the layers of a column below one another; how far down they reach."""
    top = 0.0
    for layer in column:
        height = max(nodes[i].height for i in layer)
        for i in layer:
            if nodes[i].item is None:  # an edge passes straight down
                nodes[i].height = height
            nodes[i].top = top + (height - nodes[i].height) / 2
        top += height + BETWEEN
    return top - BETWEEN
