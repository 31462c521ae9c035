"""Residual networks: a strided stem, a stage on its grid, and a stage on half of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS, head, norm2d, strided_stem


class Block(nn.Module):
    """`activation(shortcut(x) + body(x))` (He et al. 2016), the body 3x3, 3x3 or a bottleneck 1x1, 3x3, 1x1."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: str, norm: str, bottleneck: bool, group_width: int
    ) -> None:
        super().__init__()
        inner = outputs // 8 * 4 if bottleneck else outputs
        first = nn.Conv2d(inputs, inner, 1) if bottleneck else nn.Conv2d(inputs, inner, 3, stride, 1)
        second = nn.Conv2d(
            inner,
            inner if bottleneck else outputs,
            3,
            stride if bottleneck else 1,
            1,
            groups=inner // group_width if group_width else 1,
        )
        body = [first, norm2d(norm, inner), ACTIVATIONS[activation](), second, norm2d(norm, second.out_channels)]
        if bottleneck:
            body += [ACTIVATIONS[activation](), nn.Conv2d(inner, outputs, 1), norm2d(norm, outputs)]
        self.body = nn.Sequential(*body)
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, h, w]` to `[batch, outputs, h / stride, w / stride]`."""
        y: Tensor = self.activation(self.shortcut(x) + self.body(x))
        return y


def build(
    input_shape: Sequence[int],
    classes: int,
    channels: Sequence[int] = (32, 64),
    blocks: Sequence[int] = (1, 1),
    bottleneck: bool = False,
    group_width: int = 0,
    activation: str = "relu",
    norm: str = "batch",
    head_kind: str = "average",
) -> nn.Sequential:
    """`stem - blocks of stage 1 - blocks of stage 2 - head`, `channels` and `blocks` a stage.

    The second convolution of a block has groups of `group_width` channels (Xie et al. 2017), one group where that is 0.
    """
    width = channels[0]
    layers, (height, breadth) = strided_stem(input_shape, width, activation, norm)
    for stage, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
        for i in range(count):
            stride = 2 if stage and not i else 1
            height, breadth = (height + stride - 1) // stride, (breadth + stride - 1) // stride
            layers.append(Block(width, outputs, stride, activation, norm, bottleneck, group_width))
            width = outputs
    return nn.Sequential(*layers, *head(head_kind, width, (height, breadth), 0, classes, activation))
