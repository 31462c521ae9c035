"""Tensors by name as views of the vectors of many networks, so that changing one changes the vectors."""

from __future__ import annotations

from torch import Tensor

from weightsmith.layout import Layout, Weights


def views(layout: Layout, vectors: Tensor) -> dict[str, Tensor]:
    """Every floating tensor, `[batch, *shape]`, in place in `vectors`."""
    found = {}
    for spec in layout.floating:
        start, end = layout.offsets[spec.name]
        found[spec.name] = vectors[:, start:end].unflatten(1, spec.shape or (1,))
    return found


def learned(layout: Layout) -> frozenset[str]:
    """Names of the floating tensors that training learns: running statistics and other buffers are left out."""
    return frozenset(spec.name for spec in layout.floating if spec.role != "buffer")


def copied(weights: Weights) -> Tensor:
    """The vectors, to be changed in place."""
    return weights.vectors.detach().clone()
