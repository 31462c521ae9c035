"""Transition: the Gaussian that a sampler draws its next state from, and log-probabilities under it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.diffusion.per_sample import per_sample
from weightsmith.errors import BadInput


@dataclass(frozen=True, eq=False)
class Multistep:
    """What a multistep sampler remembers of the step before: its `x0` and its `log(alpha / sigma)`."""

    x0: Float[Tensor, " batch *rest"]
    half_log_snr: Float[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Transition:
    """`N(mean, std^2)` with one `std` a sample; `std` is None for a sampler that draws nothing.

    `memory` is what a multistep sampler wants back at its next step, None for all others.
    """

    mean: Float[Tensor, " batch *rest"]
    std: Float[Tensor, " batch"] | None = None
    memory: Multistep | None = None


def log_prob(
    transition: Transition, next_state: Float[Tensor, " batch *rest"], counted: Bool[Tensor, " ..."] | None = None
) -> Float[Tensor, " batch"] | None:
    """`sum_d log N(next_state_d; mean_d, std^2)`: the SUM over a sample's counted dimensions, float32.

    `counted` (`[token, dim]`, or anything that broadcasts to the states) leaves padding out. None for a deterministic
    transition. A sample whose `std` is zero (a step onto clean data) has no density and gets 0, so that it drops
    out of ratios. Differentiable in `mean` and in `next_state`.
    """
    if transition.std is None:
        return None
    std, drawn = _spread(transition.std, transition.mean)
    scaled = (next_state - transition.mean).to(std.dtype) / std
    terms = -scaled.square() / 2 - std.log() - math.log(2 * math.pi) / 2
    return torch.where(drawn, _total(terms, counted), 0).float()


def log_ratio(
    new: Transition,
    old: Transition,
    next_state: Float[Tensor, " batch *rest"],
    counted: Bool[Tensor, " ..."] | None = None,
) -> Float[Tensor, " batch"]:
    """`log new(next_state) - log old(next_state)`, summed difference by difference.

    Subtracting two sums over 400,000 dimensions loses the second digit in float32; this does not. Raises `BadInput`
    for a deterministic transition.
    """
    if new.std is None or old.std is None:
        raise BadInput("a deterministic transition has no density", "use a stochastic sampler, or ddim with eta > 0")
    new_std, new_drawn = _spread(new.std, new.mean)
    old_std, old_drawn = _spread(old.std, old.mean)
    new_scaled = (next_state - new.mean).to(new_std.dtype) / new_std
    old_scaled = (next_state - old.mean).to(old_std.dtype) / old_std
    terms = (old_scaled - new_scaled) * (old_scaled + new_scaled) / 2 + (old_std / new_std).log()
    return torch.where(new_drawn & old_drawn, _total(terms, counted), 0).float()


def counted_mask(counted: Tensor, like: Tensor) -> Tensor:
    """A mask as large as the states. Raises `BadInput` when it does not broadcast to them."""
    try:
        return counted.to(like.device).expand(like.shape)
    except RuntimeError:
        raise BadInput(
            f"a mask {list(counted.shape)} does not fit states {list(like.shape)}",
            "give one of the states' shape, or of their trailing dimensions, such as [token, dim]",
        ) from None


def _spread(std: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations over the states, at least in float32 and never zero; and which samples have one."""
    wide = mean.to(torch.promote_types(mean.dtype, torch.float32))
    drawn = std.to(mean.device) > 0
    return per_sample(torch.where(std > 0, std, 1), wide), drawn


def _total(terms: Tensor, counted: Tensor | None) -> Tensor:
    if counted is not None:
        terms = torch.where(counted_mask(counted, terms), terms, 0)
    return terms.flatten(1).sum(dim=1) if terms.ndim > 1 else terms
