"""Depthwise-separable networks: a strided stem, then 3x3 depthwise and 1x1 pointwise convolutions in turn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS, head, norm2d, strided_stem


class SeparableBlock(nn.Module):
    """`depthwise - norm - activation - pointwise - norm - activation` (Howard et al. 2017), `x +` that if residual."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str, norm: str, residual: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs),
            norm2d(norm, inputs),
            ACTIVATIONS[activation](),
            nn.Conv2d(inputs, outputs, 1),
            norm2d(norm, outputs),
            ACTIVATIONS[activation](),
        )
        self.residual = residual and stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, h, w]` to `[batch, outputs, h / stride, w / stride]`."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def build(
    input_shape: Sequence[int],
    classes: int,
    channels: Sequence[int] = (32, 64, 64),
    activation: str = "relu",
    norm: str = "batch",
    residual: bool = False,
    head_kind: str = "average",
) -> nn.Sequential:
    """`stem - blocks - head`: a stem of `channels[0]`, a block for each further width, the first of them strided."""
    width = channels[0]
    layers, (height, breadth) = strided_stem(input_shape, width, activation, norm)
    for i, outputs in enumerate(channels[1:]):
        stride = 1 if i else 2
        height, breadth = (height + stride - 1) // stride, (breadth + stride - 1) // stride
        layers.append(SeparableBlock(width, outputs, stride, activation, norm, residual))
        width = outputs
    return nn.Sequential(*layers, *head(head_kind, width, (height, breadth), 0, classes, activation))
