"""Axial perceptrons: linear layers over the columns and over the rows of an image in turn, then a head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS


class Swap(nn.Module):
    """The last two axes in the other order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(-1, -2)


class AxisBlock(nn.Module):
    """`x + perceptron(x)` over the last axis."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


def build(
    input_shape: Sequence[int],
    classes: int,
    widths: Sequence[int] = (48, 48),
    activation: str = "relu",
    hidden: int = 0,
    residual: bool = False,
) -> nn.Sequential:
    """`(linear over the last axis - activation - swap) ... flatten - head`, one such layer for each of `widths`.

    With `residual` the widths are those of hidden layers in blocks `x + perceptron(x)`.
    """
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for outputs in widths:
        if residual:
            layers += [AxisBlock(width, outputs, activation), Swap()]
            height, width = width, height
        else:
            layers += [nn.Linear(width, outputs), ACTIVATIONS[activation](), Swap()]
            height, width = outputs, height
    layers.append(nn.Flatten())
    features = channels * height * width
    if hidden:
        layers += [nn.Linear(features, hidden), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(hidden or features, classes))
