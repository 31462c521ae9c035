"""What the baselines know of the training networks: their tokens, all of one form."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.tokens import Tokens


def at_least(least: int, training: Tokens, who: str) -> None:
    """Raise `BadInput` for fewer networks than `who` needs, or networks whose padding differs."""
    if len(training) < least:
        raise BadInput(f"{who} cannot be made of {len(training)} training networks", f"give at least {least}")
    if not bool((training.mask == training.mask[0]).all()):
        raise BadInput(f"{who} was asked of networks of several layouts", "give networks of one layout")


def with_values(training: Tokens, values: Float[Tensor, "sample token dim"]) -> Tokens:
    """Samples of the same form as the training networks."""
    return Tokens(values, training.mask[:1].expand(len(values), -1), training.meanings)


def drawn(n: int, of: int, rng: torch.Generator) -> Int[Tensor, " sample"]:
    """Positions of training networks, drawn with replacement; the number may not be zero."""
    return torch.randint(of, (n,), generator=rng, device=rng.device)


def normal(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal numbers on the device and of the dtype of `like`."""
    return torch.randn(shape, generator=rng, device=rng.device).to(like)
