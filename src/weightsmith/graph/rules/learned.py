"""Linear layers, products, embeddings, attention.

In `y_o = sum_i W_oi x_i` the scales of `W` are those of `y` over those of `x`.
"""

from __future__ import annotations

from weightsmith.graph import axes as ax
from weightsmith.graph.axes import Found
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


def matmul(flow: Flow, op: Operation) -> Found | None:
    """`[..., i, k] @ [..., k, j]` of equally many leading axes, or of none on the right."""
    left, right = (flow.axes(value) for value in op.values)
    if len(right) < 2 or len(left) < len(right) or (len(right) > 2 and len(left) != len(right)):
        return None
    leading = left[:-2]
    if any(one.size != other.size for one, other in zip(leading, right[:-2], strict=False)):
        return None
    ax.contract(left[-1], right[-2])
    for one, other in zip(leading, right[:-2], strict=False):
        ax.unify(one, other.unscaled)
    return [*leading, left[-2], right[-1]]


def embedding(flow: Flow, op: Operation) -> Found | None:
    table = flow.axes(op.arguments["weight"])
    ax.freeze(table[0])
    return [*flow.axes(op.arguments["indices"]), table[1]]


def attention(flow: Flow, op: Operation) -> Found | None:
    """`softmax(q k^T) v`: queries' and keys' scales cancel, values' pass through."""
    if op.arguments.get("attn_mask") is not None or op.arguments.get("enable_gqa"):
        return None
    query, key, value = (flow.axes(op.arguments[slot]) for slot in ("query", "key", "value"))
    if not len(query) == len(key) == len(value):
        return None
    ax.contract(query[-1], key[-1])
    ax.unify(key[-2].unscaled, value[-2].unscaled)
    if op.arguments.get("is_causal"):
        ax.freeze(query[-2], key[-2])
    for one, *others in zip(query[:-2], key[:-2], value[:-2], strict=True):
        for other in others:
            ax.unify(one.unscaled, other.unscaled)
    return [*frozen_scales(query[:-1]), value[-1]]


RULES = {"linear": linear, "matmul": matmul, "embedding": embedding, "attention": attention}
