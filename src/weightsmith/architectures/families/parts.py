"""What the families are put together from: activations, normalisations of channels, and heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from weightsmith.settings.counting import gathered_features

ActivationName = Literal["relu", "gelu", "silu", "tanh"]
NormName = Literal["none", "batch", "group", "layer"]
HeadName = Literal["flatten", "quarters", "average"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
GROUPS = 4  # of a group norm


def norm2d(name: str, channels: int) -> nn.Module:
    """A normalisation of `[batch, channels, height, width]`; `layer` is over channels and positions together."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name in ("group", "layer"):
        return nn.GroupNorm(GROUPS if name == "group" else 1, channels)
    return nn.Identity()


class GlobalAverage(nn.Module):
    """The mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def halving(name: str, channels: int) -> nn.Module:
    """Half the grid: `max` or `average` of 2x2, or `depthwise`, a strided 3x3 filter a channel (Zhang 2019, learned).

    The first two round an odd size down, the last rounds it up.
    """
    if name == "depthwise":
        return nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
    return nn.MaxPool2d(2) if name == "max" else nn.AvgPool2d(2)


def strided_stem(
    input_shape: Sequence[int], width: int, activation: str, norm: str
) -> tuple[list[nn.Module], tuple[int, int]]:
    """A 3x3 convolution of stride two, its norm and its activation, and the grid that they leave."""
    layers = [nn.Conv2d(input_shape[0], width, 3, 2, 1), norm2d(norm, width), ACTIVATIONS[activation]()]
    return layers, ((input_shape[1] + 1) // 2, (input_shape[2] + 1) // 2)


def head(name: str, channels: int, grid: tuple[int, int], hidden: int, classes: int, activation: str) -> nn.Sequential:
    """From `[batch, channels, *grid]` to logits: gathered, with one hidden layer where `hidden` > 0."""
    pooled, features = gathered(name), gathered_features(name, channels, grid)
    if not hidden:
        return nn.Sequential(pooled, nn.Linear(features, classes))
    return nn.Sequential(pooled, nn.Linear(features, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, classes))


def gathered(name: str) -> nn.Module:
    """What a head reads of a grid: all of it (`flatten`), the average of each of four `quarters`, or the `average`."""
    if name == "quarters":
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return GlobalAverage() if name == "average" else nn.Flatten()
