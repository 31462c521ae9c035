"""Exporting: the operations of a module as `torch.export` writes them, in evaluation mode, the module as it was."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from weightsmith.graph.borrowing import left_as_it_was
from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.trace import Trace, depth_of, tied_names
from weightsmith.graph.vocabulary import kind_of

_CHECKS = frozenset({"assert_tensor_metadata", "assert_async", "assert_scalar"})  # that compute nothing
_VIEWS = frozenset({"reshape", "transpose", "expand", "select", "slice", "split", "unbind", "item"})


def export(module: nn.Module, inputs: tuple[Tensor, ...]) -> Trace:
    """Write down what `module` does with inputs of these shapes, whatever is in them.

    Raises what `torch.export` raises, which is anything, where operations depend on data.
    """
    names = tied_names(module)
    with left_as_it_was(module), _quiet(), torch.no_grad():
        program = torch.export.export(module, inputs, strict=False)
        if _overwrites_what_is_read_again(program.graph):
            program = program.run_decompositions({})
    return _Reader(program, names).trace()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Export warns and logs of matters of its own; what concerns a user is in the error."""
    before = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _overwrites_what_is_read_again(graph: fx.Graph) -> bool:
    """Whether an operation changes its argument in place while another still reads that, or a view of it."""
    for node in graph.nodes:
        if node.op == "call_function" and _target(node) != _target(node).removesuffix("_"):
            changed = node.args[0]
            if len(changed.users) > 1 or _kind(changed) in _VIEWS:
                return True
    return False


def _target(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", node.target)
    return getattr(packet, "__name__", str(packet))


def _kind(node: fx.Node) -> str:
    return kind_of(_target(node))


class _Reader:
    """Turns one exported program into a `Trace`."""

    def __init__(self, program: Any, names: Mapping[str, tuple[str, ...]]) -> None:
        self._graph: fx.Graph = program.graph
        self._names = names
        self._first = {name: first for first, tied in names.items() for name in tied}
        self._specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        self._values: dict[fx.Node, Value] = {}
        self._depths: dict[str, int] = {}

    def trace(self) -> Trace:
        inputs, operations = [], []
        outputs: tuple[Value, ...] = ()
        for node in self._graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
                if self._values[node].source == "input":
                    inputs.append(self._values[node])
            elif node.op == "output":
                outputs = tuple(self._values[value] for value in node.all_input_nodes)
            elif _target(node).strip("_") not in _CHECKS:
                operations.append(self._operation(node))
        return Trace(tuple(inputs), tuple(operations), outputs, self._names)

    def _placeholder(self, node: fx.Node) -> Value:
        spec, shape = self._specs[node.name], _shapes(node)[0]
        if spec.kind == InputKind.USER_INPUT:
            return Value(node.name, "input", shape)
        if spec.target in self._first:
            return Value(self._first[spec.target], "tensor", shape)
        return Value(node.name, "constant", shape)

    def _operation(self, node: fx.Node) -> Operation:
        arguments = {name: self._argument(value) for name, value in _named_arguments(node).items()}
        shapes, target = _shapes(node), _target(node).strip("_")
        found = Operation(node.name, _kind(node), target, arguments, shapes, 0)
        self._depths[node.name] = depth = depth_of(found, self._depths)
        self._values[node] = Value(node.name, "operation", shapes[0] if len(shapes) == 1 else ())
        return Operation(node.name, found.kind, target, arguments, shapes, depth)

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, list | tuple):
            return tuple(self._argument(part) for part in argument)
        return argument


def _named_arguments(node: fx.Node) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {f"argument{i}": value for i, value in enumerate(node.args)} | dict(node.kwargs)
    found = {}
    for i, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
    return found


def _shapes(node: fx.Node) -> tuple[tuple[int, ...], ...]:
    found = node.meta.get("val")
    parts = found if isinstance(found, list | tuple) else [found]
    return tuple(
        tuple(size if isinstance(size, int) else -1 for size in part.shape) if isinstance(part, Tensor) else ()
        for part in parts
    )
