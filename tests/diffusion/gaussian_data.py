"""Data whose best denoiser is known in closed form: a Gaussian with correlated dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from weightsmith.diffusion import Denoised, Path

MEAN = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)
_ROOT = torch.tensor([[0.6, 0.0, 0.0], [0.3, 0.5, 0.0], [-0.2, 0.1, 0.4]], dtype=torch.float64)
COVARIANCE = _ROOT @ _ROOT.T
DIM = len(MEAN)


def marginal(path: Path, time: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of `x_t`."""
    at = path.coefficients(torch.tensor([time], dtype=torch.float64))
    return at.alpha * MEAN, at.alpha**2 * COVARIANCE + at.sigma**2 * torch.eye(DIM, dtype=torch.float64)


def best_pair(path: Path, x: Tensor, t: Tensor) -> Denoised:
    """The best data and noise given `x_t`, a time a sample; `x [batch, dim]`.

    `E[x0 | x_t] = m + alpha S r` and `E[noise | x_t] = sigma r` with `r = (alpha^2 S + sigma^2 I)^-1 (x - alpha m)`.
    """
    at = path.coefficients(t)
    spread = at.alpha[:, None, None] ** 2 * COVARIANCE + at.sigma[:, None, None] ** 2 * torch.eye(DIM).double()
    residual = torch.linalg.solve(spread, (x - at.alpha[:, None] * MEAN)[:, :, None])[:, :, 0]
    return Denoised(MEAN + at.alpha[:, None] * (residual @ COVARIANCE), at.sigma[:, None] * residual)


def flow_map(path: Path, x: Tensor, start: float, end: float) -> Tensor:
    """Where the probability flow carries `x` from one time to another: `m_s + R_s R_t^-1 (x - m_t)`, R a square root.

    All covariances commute here, so the symmetric square roots are the flow's.
    """
    (mean_t, spread_t), (mean_s, spread_s) = marginal(path, start), marginal(path, end)
    return mean_s + (x - mean_t) @ torch.linalg.solve(_root(spread_t), _root(spread_s))


def _root(spread: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(spread)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
