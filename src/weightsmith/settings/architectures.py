"""The registered architectures: who builds each, and how many parameters it has, in closed form, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from weightsmith.settings.options import MlpOptions, TargetCnnOptions

ARCHITECTURES = {
    "target_cnn": "weightsmith.architectures.target_cnn:build",
    "mlp": "weightsmith.architectures.mlp:build",
    "cnn": "weightsmith.architectures.families.cnn:build",
    "residual": "weightsmith.architectures.families.residual:build",
    "separable": "weightsmith.architectures.families.separable:build",
    "vit": "weightsmith.architectures.families.patches:build_vit",
    "mixer": "weightsmith.architectures.families.patches:build_mixer",
    "axial": "weightsmith.architectures.families.axial:build",
}


def count_parameters(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int
) -> int | None:
    """Parameters of a registered architecture for images of `input_shape` (c, h, w); None for `module:callable`."""
    if name == "target_cnn":
        return _target_cnn(TargetCnnOptions.model_validate(dict(options)), input_shape, classes)
    if name == "mlp":
        return _mlp(MlpOptions.model_validate(dict(options)), input_shape, classes)
    return None


def _linear_chain(widths: Sequence[int]) -> int:
    """Weights and biases of linear layers between successive widths."""
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


def _target_cnn(options: TargetCnnOptions, input_shape: tuple[int, int, int], classes: int) -> int:
    channels, height, width = input_shape
    convolutions = _linear_chain([9 * channels, options.channels1]) + _linear_chain(
        [9 * options.channels1, options.channels2]
    )
    features = options.channels2 * (height // 4) * (width // 4)  # two poolings, each rounding down
    return convolutions + _linear_chain([features, options.hidden, classes])


def _mlp(options: MlpOptions, input_shape: tuple[int, int, int], classes: int) -> int:
    channels, height, width = input_shape
    return _linear_chain([channels * height * width, *options.hidden, classes])
