"""Ridge regression from sums, which are taken over batches: a linear head on features that nobody trained."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class RidgeSums:
    """`n`, `sum x`, `sum y`, `sum x x'` and `sum x y'` over examples, added up in float64.

    Features are taken from the mean of the first batch on, so that products in float32 lose little.
    """

    def __init__(self, features: int, targets: int) -> None:
        self.count = 0
        self.origin: Tensor | None = None
        self.x, self.y = torch.zeros(features, dtype=torch.float64), torch.zeros(targets, dtype=torch.float64)
        self.xx = torch.zeros(features, features, dtype=torch.float64)
        self.xy = torch.zeros(features, targets, dtype=torch.float64)

    def add(self, x: Float[Tensor, "example feature"], y: Float[Tensor, "example target"]) -> None:
        self.origin = x.mean(0) if self.origin is None else self.origin
        x = x - self.origin
        self.count += len(x)
        self.x += x.double().sum(0)
        self.y += y.double().sum(0)
        self.xx += (x.T @ x).double()
        self.xy += (x.T @ y).double()

    def solved(self, penalty: float) -> tuple[Float[Tensor, "target feature"], Float[Tensor, " target"]]:
        """`argmin |y - W x - b|^2 / n + penalty s |W|^2`, `s` the mean variance of a feature; `b` is not penalised."""
        assert self.origin is not None, "nothing was added"
        mean_x, mean_y = self.x / self.count, self.y / self.count
        covariance = self.xx / self.count - torch.outer(mean_x, mean_x)
        cross = self.xy / self.count - torch.outer(mean_x, mean_y)
        covariance.diagonal().add_(penalty * covariance.diagonal().clamp_min(0).mean().clamp_min(1e-12))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        # Rounding can leave a matrix of deficient rank a little indefinite where the penalty is small.
        weight = (torch.linalg.solve(covariance, cross) if failed else torch.cholesky_solve(cross, factor)).T
        return weight.float(), (mean_y - weight @ (mean_x + self.origin.double())).float()
