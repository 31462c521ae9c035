"""Operations that put the same values elsewhere: reshapes, transposes, concatenations, slices."""

from __future__ import annotations

from itertools import accumulate

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Found
from weightsmith.graph.flow import Flow, frozen_scales
from weightsmith.graph.nodes import Operation, Value


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
    """What is the same all along an axis is so in any order."""
    value, shape = flow.axes(next(op.values)), op.shapes[0]
    result = frozen_scales(ax.free(shape[: len(shape) - len(value)]))
    for axis, size in zip(value, shape[len(result) :], strict=True):
        if axis.size == size:
            result.append(axis)
        else:
            ax.freeze(axis)
            result += frozen_scales(ax.free([size]))
    return result


def repeat(flow: Flow, op: Operation) -> Found | None:
    """Whole copies one after another, along any axis, and along new ones in front."""
    value, shape = flow.axes(next(op.values)), op.shapes[0]
    if 0 in shape:
        return None
    result = ax.frozen(shape[: len(shape) - len(value)])
    for axis, size in zip(value, shape[len(result) :], strict=True):
        copies = size // axis.size
        result.append(axis if copies == 1 else ax.crossed([*ax.frozen([copies]), axis]))
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
    size, step, end = value[dim].size, op.arguments.get("step", 1), op.arguments.get("end")
    start, stop, _ = slice(op.arguments["start"], end).indices(size)
    if op.target == "narrow":
        stop = start + op.arguments["length"]
    if step != 1:
        spaces.freeze(value[dim].units)
        spaces.freeze(value[dim].scale)
        return [*value[:dim], *ax.frozen([op.shapes[0][dim]]), *value[dim + 1 :]]
    if (start, stop) == (0, size):
        return value
    return [*value[:dim], ax.split(value[dim], [start, stop])[1], *value[dim + 1 :]]


def index(flow: Flow, op: Operation) -> Found | None:
    """Positions that are named along one axis, by one index of any rank, stand where they are."""
    value, given = flow.axes(op.arguments["self"]), op.arguments
    indices = given["indices"] if op.target == "index" else [*[None] * (given["dim"] % len(value)), given["index"]]
    named = [i for i, where in enumerate(indices) if isinstance(where, Value)]
    if len(named) != 1 or len(op.shapes[0]) != len(value) - 1 + len(indices[named[0]].shape):  # a mask of several axes
        return None
    flow.freeze(indices[named[0]])
    before, after = value[: named[0]], value[named[0] + 1 :]
    ax.freeze(value[named[0]])
    return [*before, *ax.frozen(op.shapes[0][len(before) : len(op.shapes[0]) - len(after)]), *after]


def reorder(flow: Flow, op: Operation) -> Found | None:
    """Flips and rolls along axes that are named."""
    value = flow.axes(next(op.values))
    if not op.arguments["dims"]:
        return None
    named = {dim % len(value) for dim in op.arguments["dims"]}
    ax.freeze(*(value[dim] for dim in named))
    return [ax.frozen([axis.size])[0] if i in named else axis for i, axis in enumerate(value)]


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
    "repeat": repeat,
    "index": index,
    "reorder": reorder,
    "item": item,
}
