"""Activations, sums, products and reductions of values."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.flow import Flow, frozen_scales
from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.rules.contracting import matmul_of
from weightsmith.graph.vocabulary import POSITIVELY_HOMOGENEOUS


def identity(flow: Flow, op: Operation) -> Found | None:
    value, dtype = flow.axes(next(op.values)), op.arguments.get("dtype")
    rounds = isinstance(dtype, torch.dtype) and not dtype.is_floating_point
    return frozen_scales(value) if rounds else value


def activation(flow: Flow, op: Operation) -> Found | None:
    """`f(s x) = s f(x)` for ReLU and its like; any other takes the scale away."""
    value = flow.axes(next(op.values))
    return value if op.target in POSITIVELY_HOMOGENEOUS else frozen_scales(value)


def prelu(flow: Flow, op: Operation) -> Found | None:
    """A ReLU whose slopes, one a channel or of the value's own rank, move with their channels and have no scale."""
    value, slopes = flow.axes(op.arguments["self"]), flow.axes(op.arguments["weight"])
    along = [value[min(1, len(value) - 1)]] if len(slopes) == 1 else value
    for slope, axis in zip(slopes, along, strict=True):
        spaces.freeze(slope.scale)
        if slope.size > 1:
            spaces.unify(slope.units, axis.units)
    return value


def gated_linear_unit(flow: Flow, op: Operation) -> Found | None:
    """`a sigmoid(b)`: the two halves of an axis move together."""
    value = flow.axes(op.arguments["self"])
    axis = op.arguments["dim"] % len(value)
    signal, gate = ax.split(value[axis], [value[axis].size // 2])
    spaces.unify(signal.units, gate.unscaled.units)
    return [signal if i == axis else other.unscaled for i, other in enumerate(value)]


def softmax(flow: Flow, op: Operation) -> Found | None:
    return frozen_scales(flow.axes(next(op.values)))


def addition(flow: Flow, op: Operation) -> Found | None:
    """A residual join: both sides have the same units and the same scales."""
    operands = [flow.axes(value) for value in op.values]
    if len(operands) == 1:
        return frozen_scales(operands[0])
    return _broadcast(operands[0], operands[1], _same, keeps_long=(False, False))


def multiplication(flow: Flow, op: Operation) -> Found | None:
    """A product with a number has the scale of its value; of two values, the left one's is kept."""
    operands = [flow.axes(value) for value in op.values]
    divides, rounds = op.target == "div", op.arguments.get("rounding_mode") is not None
    if rounds or (divides and not isinstance(op.arguments["self"], Value)):
        operands[0] = frozen_scales(operands[0])
    if len(operands) == 2:
        return _broadcast(operands[0], operands[1], _left, keeps_long=(True, not divides))
    return frozen_scales(operands[0]) if 0 in op.options.values() else operands[0]


def extremum(flow: Flow, op: Operation) -> Found | None:
    """The larger or smaller of two values: as in a sum, both have the same units and scales."""
    return addition(flow, op)


def elementwise(flow: Flow, op: Operation) -> Found | None:
    """Any function of values at one position: their units move together, and have no scale."""
    first, *others = (flow.axes(value) for value in op.values)
    for other in others:
        first = _broadcast(first, other, _left, keeps_long=(False, False))
    return frozen_scales(first)


def linear_combination(flow: Flow, op: Operation) -> Found | None:
    """`beta c + alpha a @ b`."""
    slots = ("batch1", "batch2") if op.target == "baddbmm" else ("mat1", "mat2")
    product = matmul_of(*(flow.axes(op.arguments[slot]) for slot in slots))
    return product and _broadcast(flow.axes(op.arguments["self"]), product, _same, keeps_long=(False, False))


def _same(one: Axis, other: Axis) -> Axis:
    ax.unify(one, other)
    return one


def _left(one: Axis, other: Axis) -> Axis:
    spaces.unify(one.units, other.unscaled.units)
    return one


def _broadcast(one: Axes, other: Axes, meet: Callable[[Axis, Axis], Axis], keeps_long: tuple[bool, bool]) -> Axes:
    """Combine two values axis by axis from the right.

    Along an axis where the shorter is repeated, the longer keeps its scale as `keeps_long` says of the left and right.
    """
    result: Axes = []
    for left, right in itertools.zip_longest(reversed(one), reversed(other)):
        if left is not None and right is not None and left.size == right.size:
            result.append(meet(left, right))
            continue
        left_is_long = right is None or (left is not None and left.size > right.size)
        long, short = (left, right) if left_is_long else (right, left)
        if short is not None:
            ax.freeze(short)
        result.append(long if keeps_long[not left_is_long] else long.unscaled)
    return result[::-1]


def reduction(flow: Flow, op: Operation) -> Found | None:
    """Means, sums, norms and extremes over axes do not ask for the order along them."""
    value = flow.axes(next(op.values))
    if len(list(op.values)) > 1:
        return extremum(flow, op) if op.target in ("max", "min") else None
    wanted = op.arguments.get("dim")
    dims = range(len(value)) if wanted in (None, ()) else (wanted if isinstance(wanted, tuple) else (wanted,))
    reduced = {dim % len(value) for dim in dims} if value else set()
    kept: Axes = []
    for i, axis in enumerate(value):
        if i not in reduced:
            kept.append(axis.unscaled if op.target in _INHOMOGENEOUS or op.arguments.get("ord") == 0 else axis)
        else:
            spaces.freeze(axis.scale)
            kept += ax.frozen([1]) if op.arguments.get("keepdim") else []
    if len(op.shapes) == 1:
        return kept
    if flow.is_read(op, 1):  # positions of extremes, which say where in the order
        ax.freeze(*value)
    return [kept, *(ax.frozen(shape) for shape in op.shapes[1:])]


_INHOMOGENEOUS = frozenset({"var", "logsumexp"})


def constant(flow: Flow, op: Operation) -> Found | None:
    """What is filled with one number looks the same in any order, and zeros at any scale."""
    if "arange" in op.target or "empty" in op.target:
        return ax.frozen(op.shapes[0])
    found = ax.free(op.shapes[0])
    return found if "zeros" in op.target else frozen_scales(found)


RULES = {
    "identity": identity,
    "activation": activation,
    "prelu": prelu,
    "gated_linear_unit": gated_linear_unit,
    "softmax": softmax,
    "add": addition,
    "extremum": extremum,
    "elementwise": elementwise,
    "linear_combination": linear_combination,
    "multiply": multiplication,
    "reduce": reduction,
    "constant": constant,
}
