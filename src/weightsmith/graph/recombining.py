"""Recombining: operations that autograd sees in pieces, put together as a module's author wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightsmith.graph.nodes import Operation, Value


def recombined(operations: Sequence[Operation], outputs: Container[str]) -> list[Operation]:
    """Products with a transposed matrix as linear layers, and convolutions under the names they are called by."""
    by_name = {op.name: op for op in operations}
    readers = Counter(value.name for op in operations for value in op.values)
    result = []
    for op in operations:
        right = _right(op)
        transposed = by_name.get(right.name) if right is not None else None
        if transposed is not None and _transposes(transposed):
            readers[transposed.name] -= 1
            op = _linear(op, next(transposed.values))
        elif op.target == "convolution":
            op = _convolution(op)
        elif op.target == "rnn_layer" and op.arguments.get("mode") == _LSTM:
            op = _lstm(op)
        result.append(op)
    idle = {op.name for op in result if _transposes(op) and not readers[op.name] and op.name not in outputs}
    return [op for op in result if op.name not in idle]


def _right(op: Operation) -> Value | None:
    """The matrix on the right of a product of two matrices."""
    bias = op.arguments.get("self")
    if op.target == "addmm" and not (isinstance(bias, Value) and len(bias.shape) == 1):
        return None
    if op.target == "addmm" and (op.arguments.get("alpha"), op.arguments.get("beta")) != (1, 1):
        return None
    found = op.arguments.get("mat2") if op.target in ("addmm", "mm") else None
    return found if isinstance(found, Value) and found.source == "operation" else None


def _transposes(op: Operation) -> bool:
    return op.target == "t" and len(op.shapes[0]) == 2


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
