"""Normalisations: they take away a unit's scale and give it the one of their own weight and bias.

In front of them no scale is free to float rounding: a constant is added to the variance.
"""

from __future__ import annotations

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.flow import Flow, frozen_scales
from weightsmith.graph.nodes import Operation, Value


def by_channel(flow: Flow, op: Operation) -> Found | None:
    """Batch and instance normalisation: every channel by its own statistics, those that run included."""
    value = frozen_scales(flow.axes(op.arguments["input"]))
    for slot in ("running_mean", "running_var"):
        if isinstance(op.arguments[slot], Value):
            ax.unify(flow.axes(op.arguments[slot])[0], value[1])
    return _rescaled(flow, op, value, [1])


def by_group(flow: Flow, op: Operation) -> Found | None:
    """Group normalisation: the channels of a group are interchangeable."""
    value = frozen_scales(flow.axes(op.arguments["input"]))
    groups, channels = op.arguments["num_groups"], value[1].size
    if 1 < groups < channels:
        width = channels // groups
        spaces.split(value[1].units, [width * i for i in range(1, groups)])
    return _rescaled(flow, op, value, [1])


def over_trailing_axes(flow: Flow, op: Operation) -> Found | None:
    """Layer and root-mean-square normalisation: sums over the normalised axes do not ask for their order."""
    value = frozen_scales(flow.axes(op.arguments["input"]))
    trailing = len(op.arguments["normalized_shape"])
    return _rescaled(flow, op, value, list(range(len(value) - trailing, len(value))))


def _rescaled(flow: Flow, op: Operation, value: Axes, axes: list[int]) -> Found:
    """The normalised value, with the scales of the weight and bias that run over some of its axes."""
    weight, bias = (op.arguments.get(slot) for slot in ("weight", "bias"))
    if not isinstance(weight, Value):
        if isinstance(bias, Value):
            flow.freeze(bias)
        return value
    result = list(value)
    for position, axis in zip(axes, flow.axes(weight), strict=True):
        spaces.unify(axis.units, value[position].units)
        result[position] = Axis(value[position].units, axis.scale)
    if isinstance(bias, Value):
        for one, other in zip(flow.axes(bias), flow.axes(weight), strict=True):
            ax.unify(one, other)
    return result


RULES = {
    "batch_norm": by_channel,
    "instance_norm": by_channel,
    "group_norm": by_group,
    "layer_norm": over_trailing_axes,
    "rms_norm": over_trailing_axes,
}
