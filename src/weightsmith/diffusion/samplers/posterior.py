"""Posterior: where a state lay at an earlier time of a Gaussian path, given a later state and the data."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Coefficients


@dataclass(frozen=True, eq=False)
class Posterior:
    """`q(x_s | x_t, x0) = N(from_state x_t + from_data x0, variance)`; `added` is the variance of `q(x_t | x_s)`."""

    from_state: Float[Tensor, " batch"]
    from_data: Float[Tensor, " batch"]
    variance: Float[Tensor, " batch"]
    added: Float[Tensor, " batch"]


def posterior(now: Coefficients, then: Coefficients) -> Posterior:
    """The posterior of the earlier time `then` (s) given `now` (t), for any Gaussian path.

    With `a = alpha_t / alpha_s` and `b = sigma_t^2 - a^2 sigma_s^2` (the noise added from s to t): the weights are
    `a sigma_s^2 / sigma_t^2` and `alpha_s b / sigma_t^2`, the variance `b sigma_s^2 / sigma_t^2`. Kingma et al. 2021
    (arXiv 2107.00630), appendix A; on a variance-preserving table equations 6 and 7 of Ho et al. 2020.
    """
    fade, share = now.alpha / then.alpha, (then.sigma / now.sigma) ** 2
    added = (now.sigma**2 - (fade * then.sigma) ** 2).clamp(min=0)
    return Posterior(fade * share, then.alpha * added / now.sigma**2, added * share, added)
