"""Predictions: what a network says about `x_t`, and the exact conversions between the ways of saying it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Coefficients, Path
from weightsmith.errors import BadInput
from weightsmith.settings.registry import nearest

Prediction = Literal["noise", "x0", "v", "velocity"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


@dataclass(frozen=True, eq=False)
class Denoised:
    """The data `x0` and the `noise` that a network sees in `x_t = alpha x0 + sigma noise`."""

    x0: Float[Tensor, " batch *rest"]
    noise: Float[Tensor, " batch *rest"]


def denoised(
    kind: Prediction,
    output: Float[Tensor, " batch *rest"],
    x: Float[Tensor, " batch *rest"],
    t: Float[Tensor, " batch"],
    path: Path,
) -> Denoised:
    """Data and noise from a network's output at `x = x_t`.

    * `noise`: `x0 = (x - sigma noise) / alpha`.
    * `x0`: `noise = (x - alpha x0) / sigma`.
    * `v = alpha noise - sigma x0` (Salimans and Ho 2022, arXiv 2202.00512, section 4): the rotation back, divided by
      `alpha^2 + sigma^2`, which is 1 only on a variance-preserving path.
    * `velocity = alpha' x0 + sigma' noise`, the derivative of `x_t` by `t`: solved with `x_t` for both.

    `v` and `velocity` determine both at every time. `noise` says nothing of `x0` where `alpha = 0` (linear flow at
    t = 1), nor `x0` of the noise where `sigma = 0` (t = 0): what is not determined is zero there, never NaN.
    """
    read = _choose(_READERS, kind)
    return read(output.to(x.dtype), x, path.coefficients(t).over(x))


def output_of(
    kind: Prediction, pair: Denoised, t: Float[Tensor, " batch"], path: Path
) -> Float[Tensor, " batch *rest"]:
    """What a network of this kind says of `x0` and `noise`: the inverse of `denoised`, and the target to train on."""
    return _choose(_WRITERS, kind)(pair, path.coefficients(t).over(pair.x0))


def convert(
    output: Float[Tensor, " batch *rest"],
    x: Float[Tensor, " batch *rest"],
    t: Float[Tensor, " batch"],
    path: Path,
    *,
    source: Prediction,
    target: Prediction,
) -> Float[Tensor, " batch *rest"]:
    """The same prediction said in another way; see `denoised` for the two ends of a path."""
    return output if source == target else output_of(target, denoised(source, output, x, t, path), t, path)


def clip_x0(
    pair: Denoised,
    bound: float,
    x: Float[Tensor, " batch *rest"],
    t: Float[Tensor, " batch"],
    path: Path,
) -> Denoised:
    """`x0` within `[-bound, bound]`, and the noise that goes with it at `x`. Raises `BadInput` when it is <= 0."""
    if not bound > 0:
        raise BadInput(f"clip={bound:g}", "give the largest magnitude that x0 may have, or None")
    return denoised("x0", pair.x0.clamp(-bound, bound), x, t, path)


def _choose(table: dict[Prediction, Callable], kind: str) -> Callable:
    if kind not in table:
        raise BadInput(f"unknown prediction {kind!r}", f"nearest known: {nearest(kind, PREDICTIONS)}")
    return table[kind]


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """`numerator / denominator`, zero where the denominator is; the gradient is finite there too."""
    undetermined = denominator == 0
    return torch.where(undetermined, 0, numerator / torch.where(undetermined, 1, denominator))


def _from_noise(noise: Tensor, x: Tensor, at: Coefficients) -> Denoised:
    return Denoised(_quotient(x - at.sigma * noise, at.alpha), noise)


def _from_x0(x0: Tensor, x: Tensor, at: Coefficients) -> Denoised:
    return Denoised(x0, _quotient(x - at.alpha * x0, at.sigma))


def _from_v(v: Tensor, x: Tensor, at: Coefficients) -> Denoised:
    norm = at.alpha**2 + at.sigma**2
    return Denoised((at.alpha * x - at.sigma * v) / norm, (at.sigma * x + at.alpha * v) / norm)


def _from_velocity(velocity: Tensor, x: Tensor, at: Coefficients) -> Denoised:
    turning = at.alpha * at.sigma_slope - at.sigma * at.alpha_slope  # positive: noise grows and signal falls
    x0 = (at.sigma_slope * x - at.sigma * velocity) / turning
    return Denoised(x0, (at.alpha * velocity - at.alpha_slope * x) / turning)


_READERS: dict[Prediction, Callable[[Tensor, Tensor, Coefficients], Denoised]] = {
    "noise": _from_noise,
    "x0": _from_x0,
    "v": _from_v,
    "velocity": _from_velocity,
}
_WRITERS: dict[Prediction, Callable[[Denoised, Coefficients], Tensor]] = {
    "noise": lambda pair, at: pair.noise,
    "x0": lambda pair, at: pair.x0,
    "v": lambda pair, at: at.alpha * pair.noise - at.sigma * pair.x0,
    "velocity": lambda pair, at: at.alpha_slope * pair.x0 + at.sigma_slope * pair.noise,
}
