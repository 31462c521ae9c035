"""ParameterGraph: the operations of a module, what each of its tensors is for, and which units are interchangeable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.graph.borrowing import SEED, require_shapes
from weightsmith.graph.einsum import Equation
from weightsmith.graph.flow import Flow
from weightsmith.graph.groups import Group, groups_along, permutation_groups, scale_groups
from weightsmith.graph.nodes import Operation, TensorNode, Value
from weightsmith.graph.proving import proved
from weightsmith.graph.rules import RULES
from weightsmith.graph.trace import Trace, TracedBy, depending_on_input
from weightsmith.graph.tracing import trace
from weightsmith.graph.vocabulary import PRODUCTS, ROW_MAJOR, UNKNOWN, unit_and_input_axes
from weightsmith.layout import Layout

_MATRICES = ("weight", "self", "other", "mat1", "mat2")  # arguments of products
EXAMPLES = 2  # with one, a batch could not be told from an axis that is repeated


@dataclass(frozen=True)
class ParameterGraph:
    """The function of a module as operations on values, in the order in which they are computed.

    `tensors`: every floating tensor of the state dict, in its order. `permutations`: groups of units whose order is
    free; `scales`: groups of units whose positive scales are free; both in the order of the operations, and such that
    any element of any group leaves the function in evaluation mode as it was, to float rounding. `not_understood`: the
    operations (PyTorch's names) about which nothing is known; whatever touches them is in no group. `traced_by`:
    `export`, which holds for any input, or `autograd`, a walk along the path that one example takes: the groups were
    seen to leave its outputs as they are, and nothing is known of other paths. `opaque`: the names of the operations
    that are not understood. `singles`: hidden units that may not change places with any other, a group each.
    """

    layout: Layout
    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    tensors: Mapping[str, TensorNode]
    permutations: tuple[Group, ...]
    scales: tuple[Group, ...]
    not_understood: tuple[str, ...]
    traced_by: TracedBy = "export"
    opaque: frozenset[str] = frozenset()
    singles: tuple[Group, ...] = ()

    @classmethod
    def of(cls, module: nn.Module, input_shape: Sequence[int], by: TracedBy | None = None) -> ParameterGraph:
        """The graph of a module of one floating input `[batch, *input_shape]`.

        The module is exported in evaluation mode, or else run on a random example and its autograd graph walked (`by`
        asks for one of the two), and left as it was. Raises `NotExportable` (a `BadInput`), naming why both failed, and
        `BadInput` for a tensor that has no shape yet.
        """
        require_shapes(module)
        like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        example = torch.randn(EXAMPLES, *input_shape, generator=torch.Generator().manual_seed(SEED))
        return cls.traced(module, example.to(like), by=by)

    @classmethod
    def traced(cls, module: nn.Module, *inputs: Tensor, by: TracedBy | None = None) -> ParameterGraph:
        """The same from example inputs, for a module of several inputs or of integer ones; give two of each."""
        layout, found = Layout.of(module), trace(module, inputs, by)
        buffers = frozenset(spec.name for spec in layout.floating if spec.role == "buffer")
        flow = Flow.through(found, _movable(layout, found), RULES, unscaled=buffers)
        (groups, singles), scales = permutation_groups(flow, found.names), scale_groups(flow, found.names)
        if found.by == "autograd":
            groups, scales = proved(module, inputs, groups, scales)
        return cls(
            layout,
            found.inputs,
            found.operations,
            found.outputs,
            _nodes(layout, found, groups),
            groups,
            scales,
            tuple(dict.fromkeys(operation.target for operation in flow.not_understood)),
            found.by,
            frozenset(operation.name for operation in flow.not_understood),
            singles,
        )

    @cached_property
    def fed(self) -> frozenset[str]:
        """The operations that the network's input has a part in; the others make something of its tensors alone."""
        return depending_on_input(self.operations)

    def matrix(self, operation: Operation) -> TensorNode | None:
        """The matrix that an operation multiplies a value of the network with: a linear layer, however it is called."""
        if operation.name not in self.fed or operation.kind not in (*PRODUCTS, "linear"):
            return None
        slots = [slot for slot in _MATRICES if (operation.kind, slot) != ("linear_combination", "self")]  # its bias
        nodes = [self.tensors.get(operation.parameters.get(slot, "")) for slot in slots]
        return next((node for node in nodes if node and node.role != "buffer" and len(node.shape) == 2), None)

    @cached_property
    def ties(self) -> tuple[tuple[str, ...], ...]:
        """The names that stand for one tensor, where there are several."""
        return tuple(dict.fromkeys(node.names for node in self.tensors.values() if len(node.names) > 1))

    @cached_property
    def _by_name(self) -> dict[str, Operation]:
        return {operation.name: operation for operation in self.operations}

    def operation(self, name: str) -> Operation:
        """The operation of that name. Raises `BadInput` when there is none."""
        if name not in self._by_name:
            raise BadInput(f"no operation {name!r} in this graph", f"its operations are {', '.join(self._by_name)}")
        return self._by_name[name]

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """From which value to which operation: names of inputs and operations, in order."""
        return tuple((value.name, op.name) for op in self.operations for value in op.inputs)

    @cached_property
    def input_layers(self) -> tuple[Operation, ...]:
        """The linear layers that read the network's input itself, flattened or as it is, with weights of their own."""
        as_they_are = {value.name for value in self.inputs}
        found = []
        for operation in self.operations:
            if not operation.inputs or operation.inputs[0].name not in as_they_are:
                continue
            if operation.kind in ROW_MAJOR and len(operation.inputs) == 1:
                as_they_are.add(operation.name)
            elif operation.kind == "linear" and self._owns(operation) and len(operation.inputs[0].shape) == 2:
                found.append(operation)
        return tuple(found)

    def _owns(self, operation: Operation) -> bool:
        mine = set(operation.parameters.values())
        return not any(mine & set(other.parameters.values()) for other in self.operations if other is not operation)


def _axes(operation: Operation, slot: str, rank: int) -> tuple[int | None, int | None]:
    """The unit and input axes of a tensor of that rank in that argument."""
    if operation.kind != "einsum":
        return unit_and_input_axes(operation.kind, slot, rank)
    ranks = [len(value.shape) for value in operation.arguments["tensors"]]
    operand = int(slot.split("[")[1].rstrip("]"))
    return Equation.of(operation.arguments["equation"], ranks).unit_and_input_axes(operand)


def _movable(layout: Layout, found: Trace) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that take part, in the order of the operations: learned ones, and those buffers that follow
    learned units: running statistics, and the singular vectors of a spectral norm.
    """
    specs = {spec.name: spec for spec in layout.floating}
    result = {}
    for operation in found.operations:
        for slot, name in operation.parameters.items():
            spec = specs.get(name)
            if spec is not None and (spec.role != "buffer" or slot.startswith("running_") or _is_singular(name)):
                result[name] = spec.shape
    return result


def _is_singular(name: str) -> bool:
    return name.endswith(("._u", "._v", "weight_u", "weight_v"))


def _nodes(layout: Layout, found: Trace, groups: tuple[Group, ...]) -> dict[str, TensorNode]:
    """One node a floating tensor of the layout, from the first operation that reads it."""
    first = {name: tied for tied in found.names.values() for name in tied}
    uses: dict[str, tuple[int, Operation, str]] = {}
    unknown = _read_by_unknown_ones(found)
    for order, operation in enumerate(found.operations):
        for slot, name in operation.parameters.items():
            uses.setdefault(name, (order, unknown.get(operation.name, operation), slot))
    result = {}
    for spec in layout.floating:
        names = first[spec.name]
        node = TensorNode(spec.name, names, spec.shape, spec.role, order=len(found.operations))
        result[spec.name] = _used(node, *uses[names[0]], groups) if names[0] in uses else node
    return result


def _read_by_unknown_ones(found: Trace) -> dict[str, Operation]:
    """For operations on tensors alone whose values only unknown ones read in the end, the first of these."""
    fed = depending_on_input(found.operations)
    ends: dict[str, dict[str, Operation]] = {}
    for operation in reversed(found.operations):
        mine = {operation.name: operation} if operation.name in fed else ends.get(operation.name, {})
        for value in operation.values:
            ends.setdefault(value.name, {}).update(mine)
    alone = [operation.name for operation in found.operations if operation.name not in fed and ends.get(operation.name)]
    return {
        name: [*ends[name].values()][-1] for name in alone if all(one.kind == UNKNOWN for one in ends[name].values())
    }


def _used(node: TensorNode, order: int, operation: Operation, slot: str, groups: tuple[Group, ...]) -> TensorNode:
    """The node of a tensor that an operation reads."""
    known = operation.kind != UNKNOWN
    unit, read = _axes(operation, slot, len(node.shape)) if known else (None, None)
    long = [axis for axis, size in enumerate(node.shape) if size > 1]
    if read is None and len(long) == 1 and unit is not None and node.shape[unit] == 1:
        unit = long[0]  # as of a bias [channel, 1, 1]
    return replace(
        node,
        slot=slot,
        operation=operation.name,
        kind=operation.kind,
        depth=operation.depth,
        order=order,
        unit_axis=unit,
        input_axis=read,
        unit_groups=groups_along(groups, node.name, unit),
        input_groups=groups_along(groups, node.name, read),
    )
