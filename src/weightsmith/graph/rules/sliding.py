"""Operations that slide over trailing axes: convolutions of any number of groups, pooling and resizing."""

from __future__ import annotations

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.flow import Flow, Piece
from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.vocabulary import spatial_axes


def convolution(flow: Flow, op: Operation) -> Found | None:
    """`[batch, channel, *space]` by a kernel `[out, in / groups, *size]`, transposed `[in, out / groups, *size]`."""
    kernel: Value = op.arguments["weight"]
    value = flow.axes(op.arguments["input"])
    if len(value) != len(kernel.shape):
        return None
    groups = op.arguments["groups"]
    one_a_group = kernel.shape[0] == groups if op.kind == "transposed_convolution" else kernel.shape[1] == 1
    if groups == 1:
        channels = _dense(op.kind, flow.axes(kernel), value[1])
    else:
        piece = flow.whole(kernel)
        if piece is None:
            return None
        if op.kind == "convolution" and one_a_group:
            channels = _depthwise(piece, value[1], groups)
        else:
            channels = _grouped(op.kind, flow.cut_rows(kernel, groups), value[1])
    if isinstance(op.arguments["bias"], Value):
        ax.unify(flow.axes(op.arguments["bias"])[0], channels)
    return [value[0].unscaled, channels, *_slid(value[2:], op)]


def _dense(kind: str, kernel: Axes, inputs: Axis) -> Axis:
    outputs, reads = (kernel[1], kernel[0]) if kind == "transposed_convolution" else (kernel[0], kernel[1])
    ax.contract(reads, inputs)
    ax.freeze(*kernel[2:])
    return outputs


def _depthwise(piece: Piece, inputs: Axis, groups: int) -> Axis:
    """Every channel has kernels of its own, `multiplier` of them: they move with it and are divided by its scale."""
    outputs, *others = piece.axes
    ax.freeze(*others)
    multiplier = outputs.size // groups
    spaces.unify(outputs.units, spaces.crossed([inputs.units, spaces.free(multiplier)]))
    piece.extra.append((0, spaces.crossed([inputs.scale.inverse, spaces.frozen(multiplier)])))
    return outputs


def _grouped(kind: str, kernels: list[Axes], inputs: Axis) -> Axis:
    """Units are permuted within their group; that groups could change places is not used."""
    outputs = []
    width = inputs.size // len(kernels)
    parts = ax.split(inputs, [width * i for i in range(1, len(kernels))])
    for kernel, part in zip(kernels, parts, strict=True):
        outputs.append(_dense(kind, kernel, part))
    return ax.joined(outputs)


def _slid(space: Axes, op: Operation) -> Axes:
    """The axes that the kernel slides over; one of a single position leaves them in their order."""
    single = set(op.arguments["weight"].shape[2:]) == set(op.arguments["stride"]) == {1}
    if single and tuple(axis.size for axis in space) == op.shapes[0][2:]:  # no padding either
        return [axis.unscaled for axis in space]
    ax.freeze(*space)
    return ax.frozen(op.shapes[0][2:])


def pooling(flow: Flow, op: Operation) -> Found | None:
    """Maxima and averages over windows; both commute with permuting channels and with positive scales."""
    value: Axes = flow.axes(next(op.values))
    sliding = spatial_axes(op.target)
    kept, window = value[:-sliding], value[-sliding:]
    ax.freeze(*window)
    found = [*kept, *ax.frozen(op.shapes[0][-sliding:])]
    if len(op.shapes) == 1:
        return found
    return [found, *(ax.frozen(shape) for shape in op.shapes[1:])]  # the positions of the maxima


def padding(flow: Flow, op: Operation) -> Found | None:
    """Whatever is put around an axis, its own positions keep their places."""
    value = flow.axes(next(op.values))
    sizes = op.arguments.get("pad") or op.arguments["padding"]
    padded = len(sizes) // 2
    constant = op.arguments.get("value") or 0
    result = value[: len(value) - padded]
    if constant and op.arguments.get("mode", "constant") == "constant":
        result = [axis.unscaled for axis in result]
    ax.freeze(*value[len(value) - padded :])
    return [*result, *ax.frozen(op.shapes[0][len(value) - padded :])]


def pixel_shuffle(flow: Flow, op: Operation) -> Found | None:
    """Channels `[channel, r, r]` become one channel and `r x r` positions, and back; or change places within groups."""
    value, made = flow.axes(next(op.values)), op.shapes[0]
    if op.target == "channel_shuffle":
        groups = op.arguments["groups"]
        outer, inner = ax.factored(value[1], [groups, value[1].size // groups])
        return [value[0], ax.crossed([inner, outer]), *value[2:]]
    *before, channels, height, width = value
    ax.freeze(height, width)
    if op.target == "pixel_unshuffle":
        unit = ax.crossed([channels, *ax.frozen([made[-3] // channels.size])])
    else:
        unit, places = ax.factored(channels, [made[-3], channels.size // made[-3]])
        ax.freeze(places)
    return [*before, unit, *ax.frozen(made[-2:])]


def unfold(flow: Flow, op: Operation) -> Found | None:
    """Windows as columns: every channel becomes a run of as many rows as the window has positions."""
    *before, channels, height, width = flow.axes(next(op.values))
    ax.freeze(height, width)
    rows, columns = op.shapes[0][-2:]
    return [*before, ax.crossed([channels, *ax.frozen([rows // channels.size])]), *ax.frozen([columns])]


def overwrite(flow: Flow, op: Operation) -> Found | None:
    """A part of a value replaced by another of the same rank; along the axes that it fills, their units agree."""
    operands = [flow.axes(value) for value in op.values]
    if len(operands) == 1:  # into what was made without gradients
        part, shape = operands[0], op.shapes[0]
        fills = len(part) == len(shape)
        ax.freeze(*(axis for i, axis in enumerate(part) if not fills or axis.size != shape[i]))
        kept = part if fills else ax.frozen(shape)
        return [
            axis.unscaled if axis.size == size else ax.frozen([size])[0] for axis, size in zip(kept, shape, strict=True)
        ]
    base, part = operands
    if len(base) != len(part):
        return None
    for one, other in zip(base, part, strict=True):
        if one.size == other.size:
            ax.unify(one, other.unscaled)
        else:
            ax.freeze(one, other)
    return base


RULES = {
    "pixel_shuffle": pixel_shuffle,
    "unfold": unfold,
    "overwrite": overwrite,
    "convolution": convolution,
    "transposed_convolution": convolution,
    "pool": pooling,
    "resize": pooling,
    "pad": padding,
}
