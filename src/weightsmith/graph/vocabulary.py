"""The vocabulary: which kind of operation each of PyTorch's is. What is not listed is recorded as `unknown`."""

from __future__ import annotations

UNKNOWN = "unknown"
LEFT = "tensors that nothing else reads are initialised in the standard way, or stay as they are"  # of unknown ones

_KINDS = {
    "linear": "linear",
    "convolution": "conv1d conv2d conv3d",
    "transposed_convolution": "conv_transpose1d conv_transpose2d conv_transpose3d",
    "embedding": "embedding",
    "matmul": "matmul mm bmm mv dot vdot",
    "linear_combination": "addmm baddbmm",
    "einsum": "einsum",
    "bilinear": "bilinear trilinear",
    "recurrent": "lstm gru rnn_tanh rnn_relu",
    "weight_norm": "weight_norm",
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "instance_norm": "instance_norm",
    "rms_norm": "rms_norm",
    "activation": """relu leaky_relu gelu silu tanh sigmoid elu selu celu softplus mish hardswish hardsigmoid hardtanh
        relu6 log_sigmoid softsign tanhshrink hardshrink softshrink threshold abs exp expm1 log log1p sqrt rsqrt square
        sin cos erf reciprocal sign floor round ceil isnan""",
    "prelu": "prelu",
    "gated_linear_unit": "glu",
    "softmax": "softmax log_softmax",
    "attention": "scaled_dot_product_attention",
    "identity": """dropout feature_dropout alpha_dropout feature_alpha_dropout clone contiguous detach alias
        lift_fresh_copy positive neg to to_copy""",
    "pool": """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        max_pool2d_with_indices max_pool3d_with_indices""",
    "resize": """upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d
        upsample_bicubic2d upsample_trilinear3d""",
    "reduce": "mean sum amax amin max min std var logsumexp linalg_vector_norm",
    "add": "add sub rsub",
    "extremum": "maximum minimum",
    "multiply": "mul div",
    "elementwise": """pow clamp clamp_min clamp_max where masked_fill lerp addcmul addcdiv gt lt ge le eq ne
        logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not atan2 fmod remainder""",
    "reshape": "view reshape flatten unflatten squeeze unsqueeze unsafe_view view_as reshape_as",
    "transpose": "transpose permute t numpy_T mT swapaxes swapdims",
    "expand": "expand expand_as broadcast_to",
    "repeat": "repeat tile",
    "concatenate": "cat concat",
    "stack": "stack",
    "split": "chunk split split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk tensor_split",
    "unbind": "unbind",
    "select": "select",
    "slice": "slice narrow",
    "index": "index index_select",
    "reorder": "flip roll",
    "pixel_shuffle": "pixel_shuffle pixel_unshuffle channel_shuffle",
    "unfold": "im2col",
    "overwrite": "copy_slices",
    "pad": """pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
        replication_pad2d replication_pad3d""",
    "constant": "zeros ones full empty zeros_like ones_like full_like new_zeros new_ones new_full arange",
    "item": "getitem",
}
_KIND_OF = {target: kind for kind, targets in _KINDS.items() for target in targets.split()}

POSITIVELY_HOMOGENEOUS = frozenset({"relu", "leaky_relu", "abs"})
NORMALISATIONS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
PRODUCTS = frozenset({"matmul", "linear_combination"})  # of matrices
ROW_MAJOR = frozenset({"reshape", "identity"})  # kinds that keep every value and their order


def kind_of(target: str) -> str:
    """The kind of an operation of PyTorch's; its underscores, which say how it is called, do not count."""
    return _KIND_OF.get(target.strip("_"), UNKNOWN)


def spatial_axes(target: str) -> int:
    """How many trailing axes `conv2d`, `max_pool1d`, ... slide over."""
    return next(int(digit) for digit in reversed(target) if digit.isdigit())


def unit_and_input_axes(kind: str, slot: str, axes: int) -> tuple[int | None, int | None]:
    """Which axis of a tensor runs over output units and which over inputs, by the operation's kind and the argument."""
    if kind in ("matmul", "linear_combination") and axes >= 2 and (kind, slot) != ("linear_combination", "self"):
        return (axes - 1, axes - 2) if slot in ("other", "mat2", "batch2") else (axes - 2, axes - 1)
    rows_first = slot == "weight" and kind not in NORMALISATIONS and kind != "prelu"
    rows_first |= kind in ("recurrent", "weight_norm") and slot.split("[")[0] in ("params", "v", "g")
    if not rows_first:
        return (axes - 1 if axes else None), None
    if kind in ("transposed_convolution", "embedding"):
        return 1, 0
    return (0, 1) if axes >= 2 and slot != "g" else (0 if axes else None, None)
