"""Plain convolutional networks: convolutions in a row, the grid halved after the first two of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from weightsmith.architectures.families.parts import ACTIVATIONS, halving, head, norm2d

HALVINGS = 2


def build(
    input_shape: Sequence[int],
    classes: int,
    channels: Sequence[int] = (32, 64),
    kernel: int = 3,
    groups: int = 1,
    activation: str = "relu",
    norm: str = "none",
    pool: str = "max",
    head_kind: str = "flatten",
    hidden: int = 128,
) -> nn.Sequential:
    """`(conv - norm - activation - pool) ... head`.

    `pool` is `max` or `average`, 2x2; `depthwise`, a strided 3x3 filter a channel; or `stride`, of the convolution
    itself.

    `groups` are those of every convolution but the first.
    """
    layers: list[nn.Module] = []
    inputs, grid = input_shape[0], (input_shape[1], input_shape[2])
    for i, outputs in enumerate(channels):
        halve = i < HALVINGS
        stride = 2 if halve and pool == "stride" else 1
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups if i else 1),
            norm2d(norm, outputs),
            ACTIVATIONS[activation](),
        ]
        if halve:
            if pool != "stride":
                layers.append(halving(pool, outputs))
            rounds_up = pool in ("stride", "depthwise")
            grid = ((grid[0] + rounds_up) // 2, (grid[1] + rounds_up) // 2)
        inputs = outputs
    return nn.Sequential(*layers, *head(head_kind, inputs, grid, hidden, classes, activation))
