"""Products of values that are summed over shared axes: matrix products, Einstein sums, bilinear layers.

In `y_oj = sum_k A_ok B_kj` an axis that is summed over has the same units on both sides, and scales that cancel.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.einsum import Equation
from weightsmith.graph.flow import Flow, frozen_scales
from weightsmith.graph.nodes import Operation, Value

Labelled = tuple[Sequence[Hashable], Axes]


def contracted(operands: Sequence[Labelled], output: Sequence[Hashable]) -> Axes | None:
    """The product of operands, summed over every label that the output lacks; `None` where one is repeated."""
    found: dict[Hashable, list[Axis]] = {}
    for labels, axes in operands:
        if len(labels) != len(axes) or len(set(labels)) != len(labels):
            return None
        for label, axis in zip(labels, axes, strict=True):
            found.setdefault(label, []).append(axis)
    if any(axis.size != axes[0].size for axes in found.values() for axis in axes):
        return None
    for label, axes in found.items():
        _meet(axes, kept=label in output)
    return [found[label][0] for label in output]


def _meet(axes: list[Axis], kept: bool) -> None:
    """Axes under one label: of those that stay the first keeps its scale, two that are summed over cancel theirs."""
    first, *others = axes
    if not kept and len(axes) == 2:
        ax.contract(first, others[0])
        return
    if not kept:
        spaces.freeze(first.scale)
    for other in others:
        spaces.unify(first.units, other.unscaled.units)


def matmul_of(left: Axes, right: Axes) -> Axes | None:
    """`[..., i, k] @ [..., k, j]` of equally many leading axes, or of none on one side; vectors lack `i` or `j`."""
    rows, columns = (["i"] if len(left) > 1 else []), (["j"] if len(right) > 1 else [])
    leading = [list(range(len(axes) - 2))[::-1] for axes in (left, right)]  # counted from the right
    if leading[0] and leading[1] and len(left) != len(right):
        return None
    operands = [([*leading[0], *rows, "k"], left), ([*leading[1], "k", *columns], right)]
    return contracted(operands, [*max(leading, key=len), *rows, *columns])


def matmul(flow: Flow, op: Operation) -> Found | None:
    left, right = (flow.axes(value) for value in op.values)
    return matmul_of(left, right)


def einsum(flow: Flow, op: Operation) -> Found | None:
    """`torch.einsum`, an ellipsis included."""
    values = [flow.axes(value) for value in op.arguments["tensors"]]
    equation = Equation.of(op.arguments["equation"], [len(axes) for axes in values])
    return contracted(list(zip(equation.operands, values, strict=True)), equation.output)


def bilinear(flow: Flow, op: Operation) -> Found | None:
    """`y_o = sum_ij W_oij a_i b_j + bias_o`."""
    if op.target == "trilinear":
        return _trilinear(flow, op)
    first, second, weight = (flow.axes(op.arguments[slot]) for slot in ("input1", "input2", "weight"))
    batch = list(range(len(first) - 1))
    found = contracted([("oij", weight), ([*batch, "i"], first), ([*batch, "j"], second)], [*batch, "o"])
    if found is not None and isinstance(op.arguments["bias"], Value):
        ax.unify(flow.axes(op.arguments["bias"])[0], found[-1])
        return [*frozen_scales(found[:-1]), found[-1]]
    return found


def _trilinear(flow: Flow, op: Operation) -> Found | None:
    """The same as autograd sees it: each operand lacks some of the axes of the product, which is summed over others."""
    values = [flow.axes(op.arguments[slot]) for slot in ("i1", "i2", "i3")]
    lacks = [op.arguments[f"expand{i}"] for i in (1, 2, 3)]
    rank = len(values[0]) + len(lacks[0])
    labels = [[label for label in range(rank) if label not in lacking] for lacking in lacks]
    output = [label for label in range(rank) if label not in op.arguments["sumdim"]]
    return contracted(list(zip(labels, values, strict=True)), output)


RULES = {"matmul": matmul, "einsum": einsum, "bilinear": bilinear}
