"""Autograd nodes: what one `grad_fn` says of the operation that made it, in the words of its forward.

PyTorch names a node after its operation (`NativeLayerNormBackward0`), keeps what the derivative needs as `_saved_...`,
points at the makers of the differentiable arguments in order, and knows the shapes of the operation's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_BACKENDS = ("native_", "cudnn_", "miopen_", "mkldnn_", "thnn_")
# Names of the differentiable arguments, in order; `*` stands for a list. Others are `self`, or `argument0`, ...
_SLOTS = {
    "convolution": "input weight bias",
    "batch_norm": "input weight bias",
    "layer_norm": "input weight bias",
    "group_norm": "input weight bias",
    "rms_norm": "input weight",
    "embedding": "weight",
    "prelu": "self weight",
    "add": "self other",
    "sub": "self other",
    "mul": "self other",
    "div": "self other",
    "maximum": "self other",
    "minimum": "self other",
    "matmul": "self mat2",
    "mm": "self mat2",
    "bmm": "self mat2",
    "mv": "self vec",
    "dot": "self tensor",
    "vdot": "self other",
    "addmm": "self mat1 mat2",
    "baddbmm": "self batch1 batch2",
    "scaled_dot_product_attention": "query key value attn_mask",
    "weight_norm": "v g",
    "trilinear": "i1 i2 i3",
    "rnn_layer": "input weight0 weight1 weight2 weight3 hx_ cx_",
    "cat": "tensors*",
    "stack": "tensors*",
}
# Arguments without a derivative that matter, where the node saved them.
_SAVED = {
    "batch_norm": ("running_mean", "running_var"),
    "embedding": ("indices",),
    "index": ("indices",),
    "index_select": ("index",),
    "where": ("condition",),
    "masked_fill": ("mask",),
    "scaled_dot_product_attention": ("attn_mask", "attn_bias"),
}
_CALLED = {
    "prelu_kernel": "prelu",
    "weight_norm_interface": "weight_norm",
    "im2_col": "im2col",
    "safe_softmax": "softmax",
    "reshape_alias": "reshape",
}
_RENAMED = {"group": "num_groups"}
_UNSIGNED = 2**63  # negative numbers come out as unsigned ones


def target_of(node: Any) -> str:
    """`NativeLayerNormBackward0` to `layer_norm`, `MaxPool2DWithIndicesBackward0` to `max_pool2d_with_indices`."""
    name = re.sub(r"Backward\d*$", "", node.name().split("::")[-1])
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"(\d)D", r"\1d", name)).lower()
    for backend in _BACKENDS:
        snake = snake.removeprefix(backend)
    if snake.startswith("scaled_dot_product"):
        return "scaled_dot_product_attention"
    return _CALLED.get(snake, snake)


def shapes_of(node: Any) -> tuple[tuple[int, ...], ...]:
    """The shapes of the operation's outputs, as far as they take part in gradients."""
    return tuple(tuple(int(size) for size in part.shape) for part in node._input_metadata)


def slots_of(target: str, count: int) -> list[str]:
    """The names of the differentiable arguments; a list's are `tensors*`, each."""
    names = _SLOTS.get(target, "").split()
    if names and names[0].endswith("*"):
        return names * count
    if len(names) >= count:
        return names[:count]
    return ["self"] if count == 1 else [f"argument{i}" for i in range(count)]


def saved(node: Any, slot: str) -> Any:
    """What the node keeps of an argument, or `None`; what was overwritten since is lost."""
    try:
        return getattr(node, f"_saved_{slot}", None)
    except RuntimeError:
        return None


def saved_arguments(node: Any, target: str) -> dict[str, Any]:
    """The tensors among its arguments that have no derivative."""
    found = {slot: saved(node, slot) for slot in _SAVED.get(target, ())}
    if target == "batch_norm":
        return found  # absent ones are `None`
    return {slot: value for slot, value in found.items() if value is not None}


def options_of(node: Any) -> dict[str, Any]:
    """Numbers and words that it was called with: stride, padding, groups, dim, ..."""
    found = {}
    for attribute in dir(node):
        slot = attribute.removeprefix("_saved_")
        if slot != attribute and "_sym_" not in slot and not slot.startswith("result"):
            value = saved(node, slot)
            if value is not None and not _has_tensors(value):
                found[_RENAMED.get(slot, slot)] = _signed(value)
    return found


def saved_tensors(node: Any) -> Mapping[str, Tensor]:
    """Every tensor that it keeps, by argument."""
    slots = [name.removeprefix("_saved_") for name in dir(node) if name.startswith("_saved_")]
    found = {slot: saved(node, slot) for slot in slots}
    return {slot: value for slot, value in found.items() if isinstance(value, Tensor)}


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and any(map(_has_tensors, value)))


def _signed(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_signed(part) for part in value)
    return value - 2 * _UNSIGNED if isinstance(value, int) and value >= _UNSIGNED else value
