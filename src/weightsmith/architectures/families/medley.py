"""Medleys: convolutions and then linear layers in a row, each with a norm, an activation and a kind of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS, gathered, halving, norm2d
from weightsmith.architectures.mlp import NORMS
from weightsmith.errors import BadInput
from weightsmith.settings.architecture_options import MEDLEY_GROUPS
from weightsmith.settings.counting import gathered_features


class MedleyLayer(nn.Module):
    """`activation(norm(convolution(x)))`, or `activation(x + norm(convolution(x)))`."""

    def __init__(self, convolution: nn.Module, norm: nn.Module, activation: str, adds: bool) -> None:
        super().__init__()
        self.convolution, self.norm, self.adds = convolution, norm, adds
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(x))
        z: Tensor = self.activation(x + y if self.adds else y)
        return z


def build(
    input_shape: Sequence[int],
    classes: int,
    kinds: Sequence[str] = ("convolution", "depthwise", "convolution"),
    widths: Sequence[int] = (32, 32, 48),
    norms: Sequence[str] = ("batch", "none", "layer"),
    activations: Sequence[str] = ("relu", "gelu", "tanh"),
    halvings: Sequence[str] = ("stride", "none", "max"),
    adds: bool = False,
    head_kind: str = "average",
    dense: Sequence[int] = (),
    dense_norms: Sequence[str] = (),
    dense_activations: Sequence[str] = (),
) -> nn.Sequential:
    """`layers - gathered - dense layers - linear`; layer i is of `kinds[i]`, with `widths[i]` channels, ...

    `kinds` are `convolution` 3x3, `large` 5x5, `grouped` and `depthwise` 3x3, and `pointwise` 1x1. `halvings` say how a
    layer's grid is halved: not (`none`), by its stride (`stride`), or pooled after it, 2x2 (`max`, `average`). With
    `adds`, layers that change no shape add their input.
    """
    layers: list[nn.Module] = []
    inputs, grid = input_shape[0], (input_shape[1], input_shape[2])
    for kind, width, norm, activation, halves in zip(kinds, widths, norms, activations, halvings, strict=True):
        kernel = {"large": 5, "pointwise": 1}.get(kind, 3)
        groups = {"grouped": MEDLEY_GROUPS, "depthwise": inputs}.get(kind, 1)
        strided = halves == "stride"
        convolution = nn.Conv2d(inputs, width, kernel, 2 if strided else 1, kernel // 2, groups=groups)
        added = adds and inputs == width and not strided
        layers.append(MedleyLayer(convolution, norm2d(norm, width), activation, added))
        if halves in ("max", "average"):
            layers.append(halving(halves, width))
        if halves != "none":
            grid = ((grid[0] + strided) // 2, (grid[1] + strided) // 2)
        inputs = width
    features = gathered_features(head_kind, inputs, grid)
    if not features:
        raise BadInput(
            f"halvings {list(halvings)} leave nothing of {input_shape[1]} x {input_shape[2]}", "halve less often"
        )
    layers.append(gathered(head_kind))
    for (before, after), norm, activation in zip(
        pairwise([features, *dense]), dense_norms, dense_activations, strict=True
    ):
        layers.append(nn.Linear(before, after))
        if norm != "none":
            layers.append(NORMS[norm](after))
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers, nn.Linear([features, *dense][-1], classes))
