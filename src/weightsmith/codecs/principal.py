"""Principal axes: the orthonormal directions in which points vary most, and how much they vary there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

RELATIVE_RANK = 1e-7  # of the largest norm: float32 checkpoints cannot tell smaller directions from rounding
_ONE_PASS = 1e-4  # of the largest singular value: squared it is 1e-8, below which a Gram matrix is not to be trusted


@dataclass(frozen=True)
class PrincipalAxes:
    """`x = m + sum_i c_i a_i` with orthonormal axes a_i; `deviations`: the standard deviations of the c_i (over n).

    `kept`: the share of the variance that lies along the axes, exactly 1 when nothing above rounding is left out.
    """

    mean: Float64[Tensor, " dim"]
    axes: Float64[Tensor, "component dim"]
    deviations: Float64[Tensor, " component"]
    kept: float


def principal_axes(points: Float64[Tensor, "point dim"], components: int | None = None) -> PrincipalAxes:
    """The first `components` axes, or all with a singular value above 1e-7 of the largest norm; fewer if there are.

    From the eigenvectors of the Gram matrix (points or dimensions, whichever are fewer). That squares the singular
    values, so small ones are found in a further pass, after what was found is projected out. The sign of an axis is
    arbitrary: it is chosen such that the first point's coordinate is not negative.
    """
    mean = points.mean(dim=0)
    rest = points - mean
    total, floor = float(rest.square().sum()), RELATIVE_RANK * float(points.norm(dim=1).max())
    most = min(len(points) - 1, points.shape[1])
    wanted = most if components is None else min(components, most)
    axes, singular = points.new_empty(0, points.shape[1]), points.new_empty(0)
    while len(axes) < wanted:
        found, values = (part[: wanted - len(axes)] for part in _leading(rest, floor))
        if not len(found):
            break
        axes, singular = torch.cat([axes, found]), torch.cat([singular, values])
        rest -= (rest @ found.T) @ found
    whole = len(axes) == most or not len(_leading(rest, floor)[0])
    kept = 1.0 if whole else 1.0 - float(rest.square().sum()) / total
    signs = torch.where(axes @ (points[0] - mean) >= 0, 1.0, -1.0).double()
    return PrincipalAxes(mean, axes * signs[:, None], singular / len(points) ** 0.5, kept)


def _leading(rest: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The axes whose singular values one Gram matrix tells well, and those values, largest first."""
    few_points = len(rest) <= rest.shape[1]
    squares, vectors = torch.linalg.eigh(rest @ rest.T if few_points else rest.T @ rest)
    values, vectors = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    kept = values > max(floor, _ONE_PASS * float(values[0]))
    rows = vectors.T[kept]
    rows = rows @ rest if few_points else rows
    return rows / rows.norm(dim=1, keepdim=True), values[kept]
