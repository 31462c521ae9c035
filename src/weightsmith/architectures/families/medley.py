"""Medleys: convolutions and then linear layers in a row, each with a norm, an activation and a kind of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from weightsmith.architectures.families.parts import ACTIVATIONS, gathered, halving, norm2d
from weightsmith.architectures.mlp import NORMS
from weightsmith.errors import BadInput
from weightsmith.settings.architecture_options import MEDLEY_GROUPS, MEDLEY_KERNELS
from weightsmith.settings.counting import gathered_features, medley_grid


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
    padded: bool = True,
) -> nn.Sequential:
    """`layers - gathered - dense layers - linear`; layer i is of `kinds[i]`, with `widths[i]` channels, ...

    `kinds` are `convolution` 3x3, `large` 5x5, `grouped` and `depthwise` 3x3, and `pointwise` 1x1. `halvings` say how a
    layer's grid is halved: not (`none`), by its stride (`stride`), or pooled after it, 2x2 (`max`, `average`). With
    `adds`, layers that change no shape add their input. Unless `padded`, convolutions stay inside the grid.

    Raises `BadInput` where nothing of the images is left.
    """
    left = [medley_grid(size, kinds, halvings, padded) for size in input_shape[1:]]
    if min(left) < 1:
        raise BadInput(
            f"halvings {list(halvings)} of convolutions {list(kinds)} leave nothing of "
            f"{input_shape[1]} x {input_shape[2]}",
            "halve less often, or pad",
        )
    layers: list[nn.Module] = []
    inputs = input_shape[0]
    for kind, width, norm, activation, halves in zip(kinds, widths, norms, activations, halvings, strict=True):
        kernel = MEDLEY_KERNELS.get(kind, 3)
        groups = {"grouped": MEDLEY_GROUPS, "depthwise": inputs}.get(kind, 1)
        stride, padding = 2 if halves == "stride" else 1, kernel // 2 if padded else 0
        convolution = nn.Conv2d(inputs, width, kernel, stride, padding, groups=groups)
        added = adds and inputs == width and stride == 1
        layers.append(MedleyLayer(convolution, norm2d(norm, width), activation, added))
        if halves in ("max", "average"):
            layers.append(halving(halves, width))
        inputs = width
    features = gathered_features(head_kind, inputs, left)
    layers.append(gathered(head_kind))
    for (before, after), norm, activation in zip(
        pairwise([features, *dense]), dense_norms, dense_activations, strict=True
    ):
        layers.append(nn.Linear(before, after))
        if norm != "none":
            layers.append(NORMS[norm](after))
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers, nn.Linear([features, *dense][-1], classes))
