"""Standardising: weights shifted and scaled to mean zero and deviation one, a tensor or a position at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.codecs.coverage import require_networks, require_shapes
from weightsmith.errors import BadInput
from weightsmith.layout import Layout, Weights

Per = Literal["none", "tensor", "position"]
PERS: tuple[Per, ...] = ("none", "tensor", "position")
SMALLEST = 1e-6  # of its tensor's: a position that moves less is constant, and its deviation rounding


@dataclass(frozen=True)
class Standard:
    """`z = (w - m) / s` with the mean m and deviation s over the training networks, kept in float64.

    `per` tensor: of all of a tensor's numbers, `[tensor]`. Position: of each number, `[parameters]`; a number that is
    constant over the networks gets its tensor's deviation. What is constant altogether has `s = 1`. None: `z = w`.
    """

    layout: Layout
    per: Per
    mean: Float[Tensor, " entry"]
    scale: Float[Tensor, " entry"]

    @classmethod
    def of(cls, weights: Weights, per: Per, codec: str) -> Standard:
        """Measure training networks. Raises `BadInput` for too few: positions need two."""
        require_networks(weights, codec, least=2 if per == "position" else 1)
        if per == "none":
            return cls(weights.layout, per, torch.empty(0).double(), torch.empty(0).double())
        spans = weights.layout.offsets.values()
        parts = [_measured(weights.vectors[:, start:end].double(), per) for start, end in spans]
        mean, scale = (torch.cat(values) for values in zip(*parts, strict=True))
        return cls(weights.layout, per, mean, scale)

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], layout: Layout, per: Per) -> Standard:
        """The inverse of `tensors`. Raises `ArtifactError` for other shapes."""
        entries = {"none": 0, "tensor": len(layout.floating), "position": layout.parameters}[per]
        require_shapes(tensors, {"mean": (entries,), "scale": (entries,)})
        return cls(layout, per, tensors["mean"], tensors["scale"])

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "scale": self.scale}

    def apply(self, vectors: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch parameters"]:
        """Weights to standardised numbers, computed in float64, in the layout's dtype."""
        if self.per == "none":
            return vectors
        mean, scale = self._expanded(vectors)
        return ((vectors.double() - mean) / scale).to(self.layout.dtype)

    def invert(self, values: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch parameters"]:
        """The inverse of `apply`, differentiable; in the layout's dtype, whose rounding is all that it loses."""
        values = values.to(self.layout.dtype)
        if self.per == "none":
            return values
        mean, scale = (part.to(values.dtype) for part in self._expanded(values))
        return torch.addcmul(mean, values, scale)

    def _expanded(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.mean.to(like.device), self.scale.to(like.device)
        if self.per == "position":
            return mean, scale
        sizes = torch.tensor([spec.numel for spec in self.layout.floating], device=like.device)
        return torch.repeat_interleave(mean, sizes), torch.repeat_interleave(scale, sizes)


def require_per(per: str, codec: str) -> Per:
    """The option, checked. Raises `BadInput` for an unknown one."""
    for known in PERS:
        if per == known:
            return known
    raise BadInput(f"standardise={per!r} of the {codec} codec is unknown", f"use one of {', '.join(PERS)}")


def _measured(values: Float[Tensor, "batch numbers"], per: Per) -> tuple[Tensor, Tensor]:
    """Mean and deviation of one tensor's numbers, `[1]` or `[numbers]`."""
    if not values.numel():
        empty = values.new_empty(0) if per == "position" else values.new_zeros(1)
        return empty, torch.ones_like(empty)
    if per == "tensor":
        mean, scale = values.mean().reshape(1), values.std(correction=0).reshape(1)
        rounding = torch.finfo(values.dtype).eps * values.abs().max()
        return mean, torch.where(scale > rounding, scale, 1.0)
    mean, scale = values.mean(dim=0), values.std(dim=0, correction=0)
    whole = scale.square().mean().sqrt()
    return mean, torch.where(scale > SMALLEST * whole, scale, torch.where(whole > 0, whole, 1.0))
