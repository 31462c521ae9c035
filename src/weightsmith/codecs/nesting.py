"""Nesting: the tensors of a codec inside another, under a name of their own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def nested(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`x` as `name.x`."""
    return {f"{name}.{key}": value for key, value in tensors.items()}


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `nested`: what stands under `name`."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def beside(tensors: Mapping[str, Tensor], *names: str) -> dict[str, Tensor]:
    """What stands under none of `names`."""
    return {key: value for key, value in tensors.items() if key.partition(".")[0] not in names or "." not in key}
