"""Hybrids: a strided stem, then blocks of many kinds in any order, the grid halved once among them, then a head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS, halving, head, norm2d, strided_stem
from weightsmith.architectures.families.patches import Attention
from weightsmith.settings.architecture_options import HYBRID_GROUPS, HYBRID_HEADS


class Axis(nn.Module):
    """A perceptron over the rows (`axis` 2) or the columns (`axis` 3) of a grid, the same for all channels."""

    def __init__(self, axis: int, size: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.axis = axis
        self.body = nn.Sequential(nn.Linear(size, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, size))

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channel, height, width]` to the same shape."""
        if self.axis == 3:
            y: Tensor = self.body(x)
            return y
        turned: Tensor = self.body(x.transpose(2, 3)).transpose(2, 3)
        return turned


class GridAttention(nn.Module):
    """Self-attention among the places of a grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, HYBRID_HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channel, height, width]` to the same shape."""
        tokens = self.attention(x.flatten(2).transpose(1, 2))  # (B, H W, C)
        y: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return y


class HybridBlock(nn.Module):
    """`x + body(norm(x))` if residual, otherwise `activation(norm(body(x)))`, where `body` may halve the grid."""

    def __init__(self, body: nn.Module, width: int, activation: str, norm: str, residual: bool) -> None:
        super().__init__()
        self.body, self.norm, self.residual = body, norm2d(norm, width), residual
        self.activation = None if residual else ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channel, height, width]` to the same shape."""
        y: Tensor = x + self.body(self.norm(x)) if self.activation is None else self.activation(self.norm(self.body(x)))
        return y


def build(
    input_shape: Sequence[int],
    classes: int,
    width: int = 32,
    blocks: Sequence[str] = ("convolution", "attention"),
    hidden: int = 32,
    activation: str = "relu",
    norm: str = "batch",
    residual: bool = False,
    pool: str = "max",
    halved_before: int = 1,
    head_kind: str = "average",
) -> nn.Sequential:
    """`stem - blocks - head`, all of `width` channels, the grid halved before block number `halved_before`.

    `blocks` are `convolution` 3x3, `grouped` and `depthwise` 3x3, `pointwise` 1x1, `perceptron` (two 1x1), `rows` and
    `columns` (perceptrons of `hidden` units over an axis of the grid) or `attention`; those of two layers, and
    attention, are residual whether the others are or not. `pool` is `max` or `average`, 2x2, or `depthwise`, a strided
    3x3 filter a channel with its norm and activation.
    """
    layers, grid = strided_stem(input_shape, width, activation, norm)
    for i, kind in enumerate(blocks):
        if i == halved_before:
            half = halving(pool, width)
            learned = pool == "depthwise"
            layers.append(HybridBlock(half, width, activation, norm, residual=False) if learned else half)
            grid = ((grid[0] + learned) // 2, (grid[1] + learned) // 2)
        body = _body(kind, width, hidden, activation, grid)
        layers.append(HybridBlock(body, width, activation, norm, residual or kind in ALWAYS_RESIDUAL))
    return nn.Sequential(*layers, *head(head_kind, width, grid, 0, classes, activation))


ALWAYS_RESIDUAL = ("perceptron", "rows", "columns", "attention")


def _body(kind: str, width: int, hidden: int, activation: str, grid: tuple[int, int]) -> nn.Module:
    if kind == "perceptron":
        return nn.Sequential(nn.Conv2d(width, width, 1), ACTIVATIONS[activation](), nn.Conv2d(width, width, 1))
    if kind in ("rows", "columns"):
        axis = 2 if kind == "rows" else 3
        return Axis(axis, grid[axis - 2], hidden, activation)
    if kind == "attention":
        return GridAttention(width)
    groups = {"grouped": HYBRID_GROUPS, "depthwise": width}.get(kind, 1)
    kernel = 1 if kind == "pointwise" else 3
    return nn.Conv2d(width, width, kernel, 1, kernel // 2, groups=groups)
