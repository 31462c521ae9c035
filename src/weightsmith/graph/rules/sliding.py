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
    sizes = op.arguments["pad"]
    padded = len(sizes) // 2
    constant = op.arguments.get("value") or 0
    result = value[: len(value) - padded]
    if constant and op.arguments.get("mode", "constant") == "constant":
        result = [axis.unscaled for axis in result]
    ax.freeze(*value[len(value) - padded :])
    return [*result, *ax.frozen(op.shapes[0][len(value) - padded :])]


RULES = {
    "convolution": convolution,
    "transposed_convolution": convolution,
    "pool": pooling,
    "resize": pooling,
    "pad": padding,
}
