"""How many parameters each registered architecture has, in closed form, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from weightsmith.settings import architecture_options as options

Shape = tuple[int, int, int]


def target_cnn(form: options.TargetCnnOptions, shape: Shape, classes: int) -> int:
    channels, height, width = shape
    convolutions = _chain([9 * channels, form.channels1]) + _chain([9 * form.channels1, form.channels2])
    features = form.channels2 * (height // 4) * (width // 4)  # two poolings, each rounding down
    return convolutions + _chain([features, form.hidden, classes])


def mlp(form: options.MlpOptions, shape: Shape, classes: int) -> int:
    channels, height, width = shape
    norms = 2 * sum(form.hidden) if form.norm != "none" else 0
    return _chain([channels * height * width, *form.hidden, classes]) + norms


def cnn(form: options.CnnOptions, shape: Shape, classes: int) -> int:
    inputs, *grid = shape
    total = 0
    for i, outputs in enumerate(form.channels):
        total += _convolution(inputs, outputs, form.kernel, form.groups if i else 1) + _norm(form.norm, outputs)
        if i < 2:
            grid = [size // 2 if form.pool in ("max", "average") else _halved(size) for size in grid]
            total += _convolution(outputs, outputs, 3, outputs) if form.pool == "depthwise" else 0
        inputs = outputs
    return total + _head(form.head_kind, inputs, grid, form.hidden, classes)


def residual(form: options.ResidualOptions, shape: Shape, classes: int) -> int:
    inputs, *grid = shape
    width = form.channels[0]
    total = _convolution(inputs, width, 3) + _norm(form.norm, width)
    grid = [_halved(size) for size in grid]
    for stage, (outputs, blocks) in enumerate(zip(form.channels, form.blocks, strict=True)):
        for i in range(blocks):
            strided = stage > 0 and i == 0
            total += _block(form, width, outputs) + _shortcut(width, outputs, strided)
            grid = [_halved(size) for size in grid] if strided else grid
            width = outputs
    return total + _head(form.head_kind, width, grid, 0, classes)


def separable(form: options.SeparableOptions, shape: Shape, classes: int) -> int:
    inputs, *grid = shape
    width = form.channels[0]
    total = _convolution(inputs, width, 3) + _norm(form.norm, width)
    grid = [_halved(size) for size in grid]
    for i, outputs in enumerate(form.channels[1:]):
        total += _convolution(width, width, 3, width) + _convolution(width, outputs, 1)
        total += _norm(form.norm, width) + _norm(form.norm, outputs)
        grid = grid if i else [_halved(size) for size in grid]
        width = outputs
    return total + _head(form.head_kind, width, grid, 0, classes)


def vit(form: options.VitOptions, shape: Shape, classes: int) -> int:
    token = form.pool == "token"
    learned = form.dim * (_tokens(shape, form.patch) + token) * form.positions + form.dim * token
    attention = _attention(form.dim)
    if form.latents:
        tokens = _tokens(shape, form.patch) + token
        attention += _chain([tokens, form.latents, tokens])
    if not form.heads:
        attention = -2 * form.dim  # nor is there the norm before it
    rest = _patch_network(form.dim, form.ratio, form.depth, attention, form.patch, shape)
    return learned + rest + _patch_head(form, shape, classes)


def mixer(form: options.MixerOptions, shape: Shape, classes: int) -> int:
    tokens = _tokens(shape, form.patch)
    mixing = _chain([tokens, form.token_hidden, tokens])
    rest = _patch_network(form.dim, form.ratio, form.depth, mixing, form.patch, shape)
    return rest + _chain([form.dim, classes])


def tokens(form: options.TokensOptions, shape: Shape, classes: int) -> int:
    places = _tokens(shape, form.patch)
    attention = _attention(form.dim)
    spread = _chain([places, form.hidden, places])
    each = {"perceptron": spread, "attention": attention, "latents": spread + attention}
    total = _convolution(shape[0], form.dim, form.patch) + form.dim * places * form.positions
    total += sum(each[kind] + 2 * form.dim for kind in form.blocks) + 2 * form.dim
    return total + _patch_head(form, shape, classes)


def axial(form: options.AxialOptions, shape: Shape, classes: int) -> int:
    channels, height, width = shape
    total = 0
    for outputs in form.widths:
        total += _chain([width, outputs, width] if form.residual else [width, outputs])
        height, width = width if form.residual else outputs, height
    hidden = [form.hidden] if form.hidden else []
    return total + _chain([channels * height * width, *hidden, classes])


def hybrid(form: options.HybridOptions, shape: Shape, classes: int) -> int:
    width, grid = form.width, [_halved(size) for size in shape[1:]]
    total = _convolution(shape[0], width, 3) + _norm(form.norm, width)
    for i, kind in enumerate(form.blocks):
        if i == form.halved_before:
            learned = form.pool == "depthwise"
            grid = [_halved(size) if learned else size // 2 for size in grid]
            total += _convolution(width, width, 3, width) + _norm(form.norm, width) if learned else 0
        total += _hybrid_body(kind, width, form.hidden, grid) + _norm(form.norm, width)
    return total + _head(form.head_kind, width, grid, 0, classes)


def medley(form: options.MedleyOptions, shape: Shape, classes: int) -> int:
    inputs = shape[0]
    total = 0
    for kind, width, norm in zip(form.kinds, form.widths, form.norms, strict=True):
        kernel = options.MEDLEY_KERNELS.get(kind, 3)
        groups = {"grouped": options.MEDLEY_GROUPS, "depthwise": inputs}.get(kind, 1)
        total += _convolution(inputs, width, kernel, groups) + _norm(norm, width)
        inputs = width
    grid = [medley_grid(size, form.kinds, form.halvings, form.padded) for size in shape[1:]]
    features = gathered_features(form.head_kind, inputs, grid)
    norms = sum(_norm(norm, width) for norm, width in zip(form.dense_norms, form.dense, strict=True))
    return total + _chain([features, *form.dense, classes]) + norms


def _chain(widths: Sequence[int]) -> int:
    """Weights and biases of linear layers between successive widths."""
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


def _convolution(inputs: int, outputs: int, kernel: int, groups: int = 1) -> int:
    return (inputs // groups * kernel**2 + 1) * outputs


def _norm(name: str, channels: int) -> int:
    return 0 if name == "none" else 2 * channels


def _halved(size: int) -> int:
    """By a stride of two, padded."""
    return (size + 1) // 2


def medley_grid(size: int, kinds: Sequence[str], halvings: Sequence[str], padded: bool) -> int:
    """A side of the grid behind the convolutions of a medley; 0 if nothing is left."""
    for kind, halving in zip(kinds, halvings, strict=True):
        inside = max(size if padded else size - options.MEDLEY_KERNELS.get(kind, 3) + 1, 0)
        size = {"none": inside, "stride": _halved(inside)}.get(halving, inside // 2)
    return size


def gathered_features(kind: str, channels: int, grid: Sequence[int]) -> int:
    """How many numbers a head of this kind reads of `[channels, *grid]`."""
    return channels * {"average": 1, "quarters": 4}.get(kind, grid[0] * grid[1])


def _head(kind: str, channels: int, grid: Sequence[int], hidden: int, classes: int) -> int:
    return _chain([gathered_features(kind, channels, grid), *([hidden] if hidden else []), classes])


def _block(form: options.ResidualOptions, inputs: int, outputs: int) -> int:
    inner = options.bottleneck_width(outputs) if form.bottleneck else outputs
    groups = inner // form.group_width if form.group_width else 1
    if not form.bottleneck:
        return _convolution(inputs, inner, 3) + _convolution(inner, inner, 3, groups) + 2 * _norm(form.norm, inner)
    convolutions = _convolution(inputs, inner, 1) + _convolution(inner, inner, 3, groups)
    return convolutions + _convolution(inner, outputs, 1) + 2 * _norm(form.norm, inner) + _norm(form.norm, outputs)


def _shortcut(inputs: int, outputs: int, strided: bool) -> int:
    return _convolution(inputs, outputs, 1) if strided or inputs != outputs else 0


def _hybrid_body(kind: str, width: int, hidden: int, grid: Sequence[int]) -> int:
    axis = {"rows": 0, "columns": 1}.get(kind)
    if axis is not None:
        return _chain([grid[axis], hidden, grid[axis]])
    layers = {"attention": [3 * width, width], "perceptron": [width, width], "pointwise": [width]}.get(kind)
    if layers is not None:
        return sum((width + 1) * outputs for outputs in layers)
    return _convolution(width, width, 3, {"grouped": options.HYBRID_GROUPS, "depthwise": width}.get(kind, 1))


def _tokens(shape: Shape, patch: int) -> int:
    return (shape[1] // patch) * (shape[2] // patch)


def _attention(dim: int) -> int:
    return _chain([dim, 3 * dim]) + _chain([dim, dim])


def _patch_head(form: options.VitOptions | options.TokensOptions, shape: Shape, classes: int) -> int:
    """Learned sums of the tokens, where the head reads those, and the head."""
    if form.pool == "linear":
        return _chain([_tokens(shape, form.patch), options.SUMS]) + _chain([form.dim * options.SUMS, classes])
    return _chain([form.dim, classes])


def _patch_network(dim: int, ratio: int, depth: int, mixing: int, patch: int, shape: Shape) -> int:
    """Embedding, blocks with two norms, one way of mixing and a perceptron each, and a norm."""
    block = mixing + _chain([dim, ratio * dim, dim]) + 4 * dim
    return _convolution(shape[0], dim, patch) + depth * block + 2 * dim
