"""Linear layers, embeddings, attention, weights of stated norm.

In `y_o = sum_i W_oi x_i` the scales of `W` are those of `y` over those of `x`.
"""

from __future__ import annotations

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.flow import Flow, frozen_scales
from weightsmith.graph.nodes import Operation, Value


def linear(flow: Flow, op: Operation) -> Found | None:
    value, weight = flow.axes(op.arguments["input"]), flow.axes(op.arguments["weight"])
    if len(weight) != 2:
        return None
    ax.contract(weight[1], value[-1])
    others = value[:-1]
    if isinstance(op.arguments["bias"], Value):
        ax.unify(flow.axes(op.arguments["bias"])[0], weight[0])
        others = frozen_scales(others)  # the bias does not scale along them
    return [*others, weight[0]]


def embedding(flow: Flow, op: Operation) -> Found | None:
    table = flow.axes(op.arguments["weight"])
    ax.freeze(table[0])
    return [*flow.axes(op.arguments["indices"]), table[1]]


def attention(flow: Flow, op: Operation) -> Found | None:
    """`softmax(q k^T) v`: queries' and keys' scales cancel, values' pass through."""
    if op.arguments.get("enable_gqa"):
        return None
    query, key, value = (flow.axes(op.arguments[slot]) for slot in ("query", "key", "value"))
    if not len(query) == len(key) == len(value):
        return None
    ax.contract(query[-1], key[-1])
    ax.unify(key[-2].unscaled, value[-2].unscaled)
    mask = op.arguments.get("attn_mask")
    if isinstance(mask, Value):
        _masked(flow.axes(mask), query, key)
    if op.arguments.get("is_causal"):
        ax.freeze(query[-2], key[-2])
    for one, *others in zip(query[:-2], key[:-2], value[:-2], strict=True):
        for other in others:
            ax.unify(one.unscaled, other.unscaled)
    return [*frozen_scales(query[:-1]), value[-1]]


def _masked(mask: Axes, query: Axes, key: Axes) -> None:
    """What is added to the scores, `[..., query, key]`, moves with heads and positions, and has no scale."""
    scores = [*query[:-1], key[-2]]
    for axis, score in zip(reversed(mask), reversed(scores), strict=False):
        spaces.freeze(axis.scale)
        if axis.size == score.size:
            spaces.unify(axis.units, score.units)
        else:
            ax.freeze(axis)


def weight_norm(flow: Flow, op: Operation) -> Found | None:
    """`w = g v / |v|`, the norm over all axes but `dim`: the scale is that of `g` alone."""
    direction, length = flow.axes(op.arguments["v"]), flow.axes(op.arguments["g"])
    dim = op.arguments["dim"]
    if len(direction) != len(length) or not 0 <= dim < len(direction):
        return None
    result = frozen_scales(direction)
    spaces.unify(length[dim].units, result[dim].units)
    result[dim] = Axis(result[dim].units, length[dim].scale)
    ax.freeze(*(axis for i, axis in enumerate(length) if i != dim))
    return result


RULES = {"linear": linear, "embedding": embedding, "attention": attention, "weight_norm": weight_norm}
