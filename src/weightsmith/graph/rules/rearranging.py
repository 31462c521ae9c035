"""Operations that put the same values elsewhere: reshapes, transposes, concatenations, slices."""

from __future__ import annotations

from itertools import accumulate

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Found
from weightsmith.graph.flow import Flow
from weightsmith.graph.nodes import Operation


def reshape(flow: Flow, op: Operation) -> Found | None:
    return ax.reshaped(flow.axes(next(op.values)), op.shapes[0])


def transpose(flow: Flow, op: Operation) -> Found | None:
    value = flow.axes(next(op.values))
    rank, given = len(value), op.arguments
    order = list(range(rank))
    if op.target == "permute":
        order = [dim % rank for dim in given["dims"]]
    elif op.target in ("t", "numpy_T"):
        order.reverse()
    elif op.target == "mT":
        order[-1], order[-2] = order[-2], order[-1]
    else:
        first, second = (given.get(name, given.get(other)) % rank for name, other in _TRANSPOSED)
        order[first], order[second] = order[second], order[first]
    return [value[i] for i in order]


_TRANSPOSED = (("dim0", "axis0"), ("dim1", "axis1"))


def expand(flow: Flow, op: Operation) -> Found | None:
    value, shape = flow.axes(next(op.values)), op.shapes[0]
    result = ax.frozen(shape[: len(shape) - len(value)])
    for axis, size in zip(value, shape[len(result) :], strict=True):
        if axis.size == size:
            result.append(axis)
        else:
            ax.freeze(axis)
            result += ax.frozen([size])
    return result


def concatenate(flow: Flow, op: Operation) -> Found | None:
    parts = [axes for axes in map(flow.axes, op.values) if axes]
    dim = op.arguments["dim"] % len(op.shapes[0])
    if any(len(axes) != len(op.shapes[0]) for axes in parts):
        return None
    result = _unified(parts, except_for=dim)
    result[dim] = ax.joined([axes[dim] for axes in parts])
    return result


def stack(flow: Flow, op: Operation) -> Found | None:
    result = _unified([flow.axes(value) for value in op.values], except_for=None)
    position = op.arguments["dim"] % len(op.shapes[0])
    return [*result[:position], *ax.frozen([op.shapes[0][position]]), *result[position:]]


def _unified(parts: list[Axes], except_for: int | None) -> Axes:
    first, *others = parts
    for other in others:
        for i, (one, another) in enumerate(zip(first, other, strict=True)):
            if i != except_for:
                ax.unify(one, another)
    return list(first)


def split(flow: Flow, op: Operation) -> Found | None:
    value = flow.axes(next(op.values))
    dim = op.arguments["dim"] % len(value)
    sizes = [shape[dim] for shape in op.shapes]
    parts = ax.split(value[dim], list(accumulate(sizes))[:-1])
    found = [[*value[:dim], part, *value[dim + 1 :]] for part in parts]
    return found if len(found) > 1 else found[0]


def unbind(flow: Flow, op: Operation) -> Found | None:
    value = flow.axes(next(op.values))
    dim = op.arguments["dim"] % len(value)
    ax.freeze(value[dim])
    found = [[*value[:dim], *value[dim + 1 :]] for _ in op.shapes]
    return found if len(found) > 1 else found[0]


def select(flow: Flow, op: Operation) -> Found | None:
    value = flow.axes(next(op.values))
    dim = op.arguments["dim"] % len(value)
    ax.freeze(value[dim])
    return [*value[:dim], *value[dim + 1 :]]


def cut(flow: Flow, op: Operation) -> Found | None:
    """A slice of consecutive positions is a part of the axis; one with a stride is not."""
    value = flow.axes(next(op.values))
    dim = op.arguments["dim"] % len(value)
    size, step = value[dim].size, op.arguments["step"]
    start, stop, _ = slice(op.arguments["start"], op.arguments["end"]).indices(size)
    if step != 1:
        spaces.freeze(value[dim].units)
        spaces.freeze(value[dim].scale)
        return [*value[:dim], *ax.frozen([op.shapes[0][dim]]), *value[dim + 1 :]]
    if (start, stop) == (0, size):
        return value
    return [*value[:dim], ax.split(value[dim], [start, stop])[1], *value[dim + 1 :]]


def item(flow: Flow, op: Operation) -> Found | None:
    """One output of an operation that has several."""
    index = op.arguments["argument1"]
    return list(flow.outputs(next(op.values))[index])


RULES = {
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "concatenate": concatenate,
    "stack": stack,
    "split": split,
    "unbind": unbind,
    "select": select,
    "slice": cut,
    "item": item,
}
