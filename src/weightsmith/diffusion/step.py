"""Step: one move of a sampler, with what was drawn and how probable it was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.diffusion.samplers.sampler import Predict, Sampler
from weightsmith.diffusion.transition import Multistep, Transition, log_prob
from weightsmith.errors import BadInput


@dataclass(frozen=True, eq=False)
class Step:
    """`next_state = mean + std z`, and its log-probability (sum over dimensions, float32; see `log_prob`).

    `std` and `log_prob` are None for a deterministic sampler. `log_prob` takes the drawn state as a constant, which is
    what a policy gradient needs; the state itself stays differentiable.
    """

    mean: Float[Tensor, " batch *rest"]
    std: Float[Tensor, " batch"] | None
    next_state: Float[Tensor, " batch *rest"]
    log_prob: Float[Tensor, " batch"] | None
    memory: Multistep | None = None


def take_step(
    sampler: Sampler,
    predict: Predict,
    x: Float[Tensor, " batch *rest"],
    t: Float[Tensor, " batch"],
    next_t: Float[Tensor, " batch"],
    path: Path,
    rng: torch.Generator,
    *,
    memory: Multistep | None = None,
    counted: Bool[Tensor, " ..."] | None = None,
) -> Step:
    """Move each sample from its time `t` to its `next_t`. Raises `BadInput` unless every sample moves towards data."""
    if not bool((next_t < t).all()):
        raise BadInput("a step must go to an earlier time for every sample", "give next_t < t; 0 is data, 1 is noise")
    transition = sampler.transition(predict, x, t, next_t, path, memory)
    next_state = draw(transition, rng)
    probability = log_prob(transition, next_state.detach(), counted)
    return Step(transition.mean, transition.std, next_state, probability, transition.memory)


def draw(transition: Transition, rng: torch.Generator) -> Float[Tensor, " batch *rest"]:
    """A state from a transition; a deterministic one draws nothing from `rng`."""
    if transition.std is None:
        return transition.mean
    return transition.mean + per_sample(transition.std, transition.mean) * noise_like(transition.mean, rng)


def noise_like(x: Float[Tensor, " batch *rest"], rng: torch.Generator) -> Float[Tensor, " batch *rest"]:
    """Standard normal noise, drawn where `rng` lives: a generator of the CPU gives the same numbers on any device."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.randn(x.shape, generator=rng, device=rng.device, dtype=dtype).to(x)
