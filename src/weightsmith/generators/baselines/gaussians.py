"""Gaussians fitted to training networks: one a coordinate, and one in the plane of principal components."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.generators.baselines.training_tokens import at_least, normal, with_values
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import Tokens


class CoordinateGaussian:
    """`z = mean + std e`: every number on its own, with the mean and (unbiased) deviation it has in training."""

    understands: frozenset[str] = frozenset()
    has_likelihood = False

    def __init__(self, training: Tokens) -> None:
        at_least(2, training, "a Gaussian")
        self.training = training[:1]
        self.mean, self.deviation = training.values.mean(dim=0), training.values.std(dim=0)
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        refuse_unknown_conditions(condition, self.understands, "a Gaussian")
        noise = normal((n, *self.mean.shape), self.mean, rng)
        return Trajectory((with_values(self.training, self.mean + self.deviation * noise),))


class PcaGaussian:
    """`z = mean + sum_k sqrt(l_k) e_k v_k` over the largest eigenvalues `l_k` of the training networks' covariance.

    At most N - 1 components, and with all of them (`None`) every sample still lies in the span of the training
    networks: `components` says how many are used. Computed in float64 from inner products of networks, `[N, N]`.
    """

    understands: frozenset[str] = frozenset()
    has_likelihood = False

    def __init__(self, training: Tokens, components: int | None = None) -> None:
        at_least(2, training, "a Gaussian")
        if components is not None and components < 1:
            raise BadInput(f"{components} principal components", "give at least one, or None for all")
        most = len(training) - 1
        self.components = most if components is None else min(components, most)
        self.training = training[:1]
        self.mean = training.values.mean(dim=0)
        self.axes = _scaled_axes(training.values - self.mean, self.components)
        self.network: nn.Module = nn.Identity()

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        refuse_unknown_conditions(condition, self.understands, "a Gaussian")
        amounts = normal((n, self.components), self.mean, rng)
        offset = (amounts @ self.axes.flatten(1)).reshape(n, *self.mean.shape)
        return Trajectory((with_values(self.training, self.mean + offset),))


def _scaled_axes(centred: Float[Tensor, "network token dim"], components: int) -> Float[Tensor, "component token dim"]:
    """`sqrt(l_k) v_k`, largest first: with `X X^T = U S^2 U^T`, they are the rows of `U^T X / sqrt(N - 1)`."""
    flat = centred.flatten(1).double()
    vectors = torch.linalg.eigh(flat @ flat.T).eigenvectors.flip(1)[:, :components]
    axes = vectors.T @ flat / (len(flat) - 1) ** 0.5
    return axes.reshape(components, *centred.shape[1:]).to(centred.dtype)
