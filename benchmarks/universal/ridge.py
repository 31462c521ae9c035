"""Ridge regression from sums, which are taken over batches: a linear head on features that nobody trained."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class RidgeSums:
    """`n`, `sum x`, `sum y`, `sum x x'` and `sum x y'` over examples, in float64 where they are added up."""

    def __init__(self, features: int, targets: int) -> None:
        self.count = 0
        self.x, self.y = torch.zeros(features, dtype=torch.float64), torch.zeros(targets, dtype=torch.float64)
        self.xx = torch.zeros(features, features, dtype=torch.float64)
        self.xy = torch.zeros(features, targets, dtype=torch.float64)

    def add(self, x: Float[Tensor, "example feature"], y: Float[Tensor, "example target"]) -> None:
        self.count += len(x)
        self.x += x.double().sum(0)
        self.y += y.double().sum(0)
        self.xx += (x.T @ x).double()
        self.xy += (x.T @ y).double()

    def solved(self, penalty: float) -> tuple[Float[Tensor, "target feature"], Float[Tensor, " target"]]:
        """`argmin |y - W x - b|^2 / n + penalty s |W|^2`, `s` the mean variance of a feature; `b` is not penalised."""
        mean_x, mean_y = self.x / self.count, self.y / self.count
        covariance = self.xx / self.count - torch.outer(mean_x, mean_x)
        cross = self.xy / self.count - torch.outer(mean_x, mean_y)
        scale = covariance.diagonal().clamp_min(0).mean().clamp_min(1e-12)
        covariance.diagonal().add_(penalty * scale)
        weight = torch.linalg.solve(covariance, cross).T
        return weight.float(), (mean_y - weight @ mean_x).float()
