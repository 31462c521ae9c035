"""Distance of two networks: relative L2 after removing ReLU scale and unit permutation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightsmith.datasets import Split
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry, fold_inactive_inputs


@dataclass(frozen=True)
class NetworkDistance:
    """`d(a, b) = 2 |a - b| / (|a| + |b|)`, after balancing ReLU scales, aligning a's units to b's, and leaving out the
    weights of inputs that never vary in the data (they are folded into the bias).

    For a module whose symmetries are not known (`symmetry` is None) it is the plain relative L2 distance;
    `name` says which.
    """

    symmetry: Symmetry | None
    active: Tensor
    values: Tensor

    @classmethod
    def of(cls, module: nn.Module, train: Split) -> NetworkDistance:
        """The distance for networks of the form of `module` on the data of `train`."""
        active = (train.images != train.images[0]).any(dim=0)
        return cls(Symmetry.of(module), active, train.images[0])

    @property
    def name(self) -> str:
        return "aligned relative L2" if self.symmetry is not None else "relative L2, not aligned"

    def canonical(self, weights: Weights) -> Weights:
        """What the distance compares: inactive inputs folded, scales balanced. Do it once a network."""
        if self.symmetry is None:
            return weights
        return self.symmetry.balance(fold_inactive_inputs(weights, self.symmetry, self.active, self.values))

    def between(self, canonical: Weights, references: Weights) -> Float[Tensor, "network reference"]:
        """All distances from canonical networks to canonical references."""
        columns = []
        for reference in references:
            aligned = self.symmetry.align(canonical, reference) if self.symmetry is not None else canonical
            difference = (aligned.vectors - reference.vectors).norm(dim=1)
            columns.append(2 * difference / (aligned.vectors.norm(dim=1) + reference.vectors.norm()))
        return torch.stack(columns, dim=1)

    def nearest(self, canonical: Weights, references: Weights) -> Float[Tensor, " network"]:
        """The distance of each network to its nearest reference."""
        return self.between(canonical, references).min(dim=1).values

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
