"""What a hypernetwork is told of each tensor: its operation, what comes before and after, sizes, its place."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from weightsmith.graph import Operation, ParameterGraph, TensorNode
from weightsmith.graph.vocabulary import NORMALISATIONS

KINDS = (
    "linear",
    "convolution",
    "transposed_convolution",
    "embedding",
    "matmul",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "add",
    "multiply",
    "concatenate",
    "prelu",
)
SLOTS = ("weight", "bias")
NEIGHBOURS = (
    "relu",
    "gelu",
    "silu",
    "tanh",
    "activation",  # another one
    "batch_norm",
    "layer_norm",
    "group_norm",
    "normalisation",  # another one
    "max",
    "average",
    "add",
    "multiply",
    "attention",
    "concatenate",
    "end",  # the network's input, or its output
)
_NUMBERS = 16
FEATURES = len(KINDS) + len(SLOTS) + 2 * len(NEIGHBOURS) + _NUMBERS
_LEARNED = frozenset({"linear", "convolution", "transposed_convolution", "embedding", "matmul", "linear_combination"})
_REACH = 64  # operations looked at on either side; residual streams are long


class Surroundings:
    """What lies around each operation of a graph, up to the next layers with weights."""

    def __init__(self, graph: ParameterGraph) -> None:
        self._graph = graph
        self._makers = {operation.name: operation for operation in graph.operations}
        self._readers: dict[str, list[Operation]] = {}
        for operation in graph.operations:
            for value in operation.inputs:
                self._readers.setdefault(value.name, []).append(operation)
        self._outputs = {value.name for value in graph.outputs}
        self.depth = max((operation.depth for operation in graph.operations), default=0)

    def before(self, operation: Operation) -> frozenset[str]:
        """The entries of `NEIGHBOURS` that its input has passed since the last layers."""
        return self._walk(operation, self._makers_of, lambda op: any(v.source == "input" for v in op.inputs))

    def after(self, operation: Operation) -> frozenset[str]:
        """The entries of `NEIGHBOURS` that its output passes on the way to the next layers."""
        return self._walk(operation, self._readers_of, lambda op: op.name in self._outputs)

    def makers(self, operation: Operation) -> Iterable[Operation]:
        """The operation, and those from which its first input came, nearest first."""
        seen = 0
        current: Operation | None = operation
        while current is not None and seen < 4 * _REACH:
            yield current
            first = next(iter(current.inputs), None)
            current = self._makers.get(first.name) if first is not None else None
            seen += 1

    def _makers_of(self, operation: Operation) -> list[Operation]:
        return [self._makers[value.name] for value in operation.inputs if value.name in self._makers]

    def _readers_of(self, operation: Operation) -> list[Operation]:
        return self._readers.get(operation.name, [])

    def _walk(
        self,
        operation: Operation,
        following: Callable[[Operation], list[Operation]],
        ends: Callable[[Operation], bool],
    ) -> frozenset[str]:
        found = {"end"} if ends(operation) else set()
        queue, seen = deque(following(operation)), {operation.name}
        while queue and len(seen) < _REACH:
            current = queue.popleft()
            if current.name in seen or (current.kind in _LEARNED and current.parameters):
                continue
            seen.add(current.name)
            name = _neighbour(current)
            found |= {name} if name else set()
            found |= {"end"} if ends(current) else set()
            queue.extend(following(current))
        return frozenset(found)


def _neighbour(operation: Operation) -> str | None:
    if operation.kind in ("activation", "prelu", "gated_linear_unit"):
        return operation.target if operation.target in NEIGHBOURS else "activation"
    if operation.kind in NORMALISATIONS:
        return operation.kind if operation.kind in NEIGHBOURS else "normalisation"
    if operation.kind in ("pool", "reduce"):
        return "max" if "max" in operation.target else "average"
    if operation.kind in ("attention", "softmax"):
        return "attention"
    return operation.kind if operation.kind in NEIGHBOURS else None


def tensor_features(graph: ParameterGraph, node: TensorNode, around: Surroundings) -> Tensor:
    """The features of one tensor that an operation reads, float32 `[FEATURES]`."""
    assert node.operation is not None
    operation = graph.operation(node.operation)
    found = [float(node.kind == kind) for kind in KINDS]
    found += [float(node.slot == slot) for slot in SLOTS]
    for neighbours in (around.before(operation), around.after(operation)):
        found += [float(name in neighbours) for name in NEIGHBOURS]
    return torch.tensor(found + _numbers(node, operation, around.depth))


def _numbers(node: TensorNode, operation: Operation, depth: int) -> list[float]:
    """Sizes (binary logarithms) and places, each of order one."""
    shape, taps = node.shape, node.shape[2:] if node.slot == "weight" else ()
    units = shape[node.unit_axis] if node.unit_axis is not None else 1
    reads = shape[node.input_axis] if node.input_axis is not None else 1
    stride = operation.options.get("stride")
    grids = [operation.inputs[0].shape[2:] if operation.inputs else (), operation.shapes[0][2:]]
    return [
        math.log2(units) / 4 - 1.5,
        math.log2(reads) / 4 - 1.5,
        math.log2(math.prod(shape) or 1) / 8 - 1,
        math.log2(math.prod(taps) or 1) / 4,
        (taps[0] if len(taps) > 0 else 0) / 4,
        math.log2(_first(stride)),
        min(math.log2(max(int(operation.options.get("groups") or 1), 1)) / 2, 2.0),
        *(math.log2(max(math.prod(grid), 1)) / 8 for grid in grids),
        operation.depth / max(depth, 1) * 2 - 1,
        math.log2(1 + operation.depth) / 3,
        math.log2(1 + depth - operation.depth) / 3,
        math.log2(1 + depth) / 3,
        float(operation.depth <= 1),
        float(operation.depth >= depth),
        len(shape) / 4,
    ]


_LINEAR = KINDS.index("linear")
_AVERAGE_BEFORE = len(KINDS) + len(SLOTS) + NEIGHBOURS.index("average")


def reads_averages(features: Tensor) -> bool:
    """Whether a linear layer reads averages over places, as the head of many a network does."""
    return bool(((features[:, _LINEAR] > 0) & (features[:, _AVERAGE_BEFORE] > 0)).any())


def blurred(features: Tensor, blur: float, rng: torch.Generator) -> Tensor:
    """Features `[tensor, FEATURES]` of which one cannot be too sure.

    Numbers are off by `blur` for all tensors together and half of that for each; a flag is left out at half that rate.
    All is drawn where `rng` lies.
    """
    flags, numbers = features[:, :-_NUMBERS], features[:, -_NUMBERS:]
    together = torch.randn(1, _NUMBERS, generator=rng, device=rng.device)
    apart = torch.randn(len(features), _NUMBERS, generator=rng, device=rng.device)
    kept = torch.rand(flags.shape, generator=rng, device=rng.device) >= blur / 2
    off = (blur * (together + apart / 2)).to(numbers)
    return torch.cat([flags * kept.to(flags), numbers + off], 1)


def _first(option: object) -> int:
    value = option[0] if isinstance(option, tuple | list) and option else option
    return value if isinstance(value, int) and value > 0 else 1
