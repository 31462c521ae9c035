"""Distance of two networks: relative L2 after removing ReLU scale and unit permutation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightsmith.datasets import Dataset
from weightsmith.graph import NotExportable
from weightsmith.layout import Layout, Weights
from weightsmith.symmetry import Symmetry, fold_inactive_inputs


@dataclass(frozen=True)
class NetworkDistance:
    """`d(a, b) = 2 |a - b| / (|a| + |b|)`, after balancing ReLU scales, aligning a's units to b's, and leaving out the
    weights of inputs that never vary in the data (they are folded into the bias). Buffers do not count.

    For a module that cannot be traced (`symmetry` is None) it is the plain relative L2 distance; scales and units that
    touch an operation that is not understood stay as they are. `name` says which.
    """

    symmetry: Symmetry | None
    active: Tensor
    values: Tensor

    @classmethod
    def of(cls, module: nn.Module, dataset: Dataset) -> NetworkDistance:
        """The distance for networks of the form of `module` on a data set."""
        try:
            symmetry = Symmetry.of(module, dataset.input_shape)
        except NotExportable:
            symmetry = None
        return cls(symmetry, dataset.active_inputs, dataset.train.images[0])

    @property
    def name(self) -> str:
        if self.symmetry is None:
            return "relative L2 (the symmetries of this architecture are not known: scales and units as they are)"
        name = "relative L2 after removing ReLU scale and unit permutation, inputs that never vary left out"
        unknown = ", ".join(self.symmetry.not_understood)
        return f"{name} (as they are around what is not understood: {unknown})" if unknown else name

    def canonical(self, weights: Weights) -> Weights:
        """What the distance compares: inactive inputs folded, scales balanced. Do it once a network."""
        weights = weights.replace(weights.vectors * _is_learned(weights.layout).to(weights.vectors.dtype))
        if self.symmetry is None:
            return weights
        return self.symmetry.balance(fold_inactive_inputs(weights, self.symmetry, self.active, self.values))

    def aligned(self, canonical: Weights, reference: Weights) -> Weights:
        """Canonical networks with their units in the order that fits one canonical reference (a batch of one)."""
        return self.symmetry.align(canonical, reference) if self.symmetry is not None else canonical

    def between(self, canonical: Weights, references: Weights) -> Float[Tensor, "network reference"]:
        """All distances from canonical networks to canonical references."""
        columns = []
        for reference in references:
            aligned = self.aligned(canonical, reference)
            difference = (aligned.vectors - reference.vectors).norm(dim=1)
            columns.append(2 * difference / (aligned.vectors.norm(dim=1) + reference.vectors.norm()))
        return torch.stack(columns, dim=1)

    def nearest(self, canonical: Weights, references: Weights) -> list[tuple[float, int]]:
        """For each network, the distance to its nearest reference and that reference's position."""
        smallest = self.between(canonical, references).min(dim=1)
        return list(zip(smallest.values.tolist(), smallest.indices.tolist(), strict=True))

    def mean_pairwise(self, canonical: Weights) -> float | None:
        """The mean distance over all pairs, or `None` for fewer than two networks."""
        pairs = [self.between(canonical[i + 1 :], canonical[i])[:, 0] for i in range(len(canonical) - 1)]
        return float(torch.cat(pairs).double().mean()) if pairs else None


def mean_disagreement(predictions: Int[Tensor, "network image"]) -> float | None:
    """The share of images on which two networks predict differently, averaged over all pairs; `None` without a pair."""
    pairs = torch.triu_indices(len(predictions), len(predictions), offset=1)
    if not pairs.shape[1]:
        return None
    return float((predictions[pairs[0]] != predictions[pairs[1]]).double().mean())


def _is_learned(layout: Layout) -> Tensor:
    """True for the values of a vector that training learns: running statistics and other buffers are not weights."""
    return torch.cat([torch.full((spec.numel,), spec.role != "buffer") for spec in layout.floating])
