"""The registered architectures: who builds each, and how many parameters it has, in closed form, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from weightsmith.settings import counting
from weightsmith.settings.options import OPTIONS

ARCHITECTURES = {
    "target_cnn": "weightsmith.architectures.target_cnn:build",
    "mlp": "weightsmith.architectures.mlp:build",
    "cnn": "weightsmith.architectures.families.cnn:build",
    "residual": "weightsmith.architectures.families.residual:build",
    "separable": "weightsmith.architectures.families.separable:build",
    "vit": "weightsmith.architectures.families.patches:build_vit",
    "mixer": "weightsmith.architectures.families.patches:build_mixer",
    "tokens": "weightsmith.architectures.families.patches:build_tokens",
    "axial": "weightsmith.architectures.families.axial:build",
    "hybrid": "weightsmith.architectures.families.hybrid:build",
    "medley": "weightsmith.architectures.families.medley:build",
}
_COUNTS: dict[str, Callable[[Any, tuple[int, int, int], int], int]] = {
    "target_cnn": counting.target_cnn,
    "mlp": counting.mlp,
    "cnn": counting.cnn,
    "residual": counting.residual,
    "separable": counting.separable,
    "vit": counting.vit,
    "mixer": counting.mixer,
    "tokens": counting.tokens,
    "axial": counting.axial,
    "hybrid": counting.hybrid,
    "medley": counting.medley,
}


def count_parameters(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int
) -> int | None:
    """Parameters of a registered architecture for images of `input_shape` (c, h, w); None for `module:callable`."""
    if name not in _COUNTS:
        return None
    return _COUNTS[name](OPTIONS["architecture"][name].model_validate(dict(options)), input_shape, classes)
