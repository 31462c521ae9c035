"""Recombining: operations that a trace holds in pieces, or of copies, put together as a module's author meant them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.trace import depending_on_input, depth_of


def recombined(operations: Sequence[Operation], outputs: Container[str]) -> tuple[Operation, ...]:
    """Tensors that were copied as themselves, products with a transposed matrix as linear layers, convolutions under
    the names they are called by; depths anew.
    """
    operations = _without_copies(operations, outputs)
    by_name, fed = {op.name: op for op in operations}, depending_on_input(operations)
    readers = Counter(value.name for op in operations for value in op.values)
    result = []
    for op in operations:
        right = _right(op)
        transposed = by_name.get(right.name) if right is not None and right.name not in fed else None
        if transposed is not None and _transposes(transposed):
            readers[transposed.name] -= 1
            op = _linear(op, next(transposed.values))
        elif op.target == "convolution":
            op = _convolution(op)
        elif op.target == "rnn_layer" and op.arguments.get("mode") == _LSTM:
            op = _lstm(op)
        result.append(op)
    idle = {op.name for op in result if _transposes(op) and not readers[op.name] and op.name not in outputs}
    return _with_depths(op for op in result if op.name not in idle)


def _without_copies(operations: Sequence[Operation], outputs: Container[str]) -> list[Operation]:
    """A tensor of the state that was cloned, detached, or viewed in its own shape, read as itself."""
    meant: dict[str, Value] = {}
    result = []
    for op in operations:
        op = replace(op, arguments={slot: _meant(argument, meant) for slot, argument in op.arguments.items()})
        read = [*dict.fromkeys(op.values)]
        copies = op.kind in ("identity", "reshape", "expand") and op.target not in _CHANGING and len(read) == 1
        if copies and read[0].source == "tensor" and op.shapes == (read[0].shape,) and op.name not in outputs:
            meant[op.name] = read[0]
        else:
            result.append(op)
    return result


_CHANGING = ("neg", "to", "to_copy")  # of the kinds that keep the order of values: these may change the values


def _meant(argument: Any, meant: Mapping[str, Value]) -> Any:
    if isinstance(argument, tuple):
        return tuple(_meant(part, meant) for part in argument)
    return meant.get(argument.name, argument) if isinstance(argument, Value) else argument


def _right(op: Operation) -> Value | None:
    """The matrix on the right of a product with a matrix."""
    bias = op.arguments.get("self")
    if op.target == "addmm" and not (isinstance(bias, Value) and len(bias.shape) == 1):
        return None
    if op.target == "addmm" and (op.arguments.get("alpha"), op.arguments.get("beta")) != (1, 1):
        return None
    found = op.arguments.get(_RIGHT.get(op.target, ""))
    return found if isinstance(found, Value) and found.source == "operation" else None


_RIGHT = {"addmm": "mat2", "mm": "mat2", "matmul": "other"}


def _transposes(op: Operation) -> bool:
    """Whether an operation is the transpose of a matrix."""
    if op.kind != "transpose" or len(op.shapes) != 1 or len(op.shapes[0]) != 2:
        return False
    moved = [axis for option in op.options.values() for axis in (option if isinstance(option, tuple) else (option,))]
    swapped = [[1, 0]] if op.target == "permute" else [[], [0, 1], [1, 0]]
    return [axis % 2 for axis in moved] in swapped


def _linear(op: Operation, weight: Value) -> Operation:
    read, bias = ("mat1", op.arguments["self"]) if op.target == "addmm" else ("self", None)
    arguments = {"input": op.arguments[read], "weight": weight, "bias": bias}
    return replace(op, kind="linear", target="linear", arguments=arguments)


def _convolution(op: Operation) -> Operation:
    given = dict(op.arguments)
    rank, transposed = len(op.shapes[0]) - 2, given.pop("transposed")
    if not transposed:
        del given["output_padding"]
        return replace(op, kind="convolution", target=f"conv{rank}d", arguments=given)
    return replace(op, kind="transposed_convolution", target=f"conv_transpose{rank}d", arguments=given)


_LSTM = 2  # the mode of a layer of one of the backends


def _lstm(op: Operation) -> Operation:
    """One layer in one direction."""
    given: Mapping[str, Any] = op.arguments
    params = tuple(given[f"weight{i}"] for i in range(4))
    arguments = {
        "input": given["input"],
        "hx": (given["hx_"], given["cx_"]),
        "params": params if given["has_biases"] else params[:2],
        "has_biases": given["has_biases"],
        "num_layers": 1,
        "bidirectional": False,
    }
    return replace(op, kind="recurrent", target="lstm", arguments=arguments)


def _with_depths(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    depths: dict[str, int] = {}
    found = []
    for operation in operations:
        depths[operation.name] = depth_of(operation, depths)
        found.append(replace(operation, depth=depths[operation.name]))
    return tuple(found)
