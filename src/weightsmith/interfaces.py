"""The protocols: what a codec, a generator and an objective are to the rest of the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace

Exactness = Literal[
    "everywhere",
    "on its training checkpoints",
    "everywhere, up to symmetry",
    "on its training checkpoints, up to symmetry",
    "lossy",
]


@dataclass(frozen=True)
class Given:
    """Parts of networks that a sampler must leave as they are: their tokens, and which of their numbers are given."""

    tokens: Tokens
    known: Bool[Tensor, "token dim"]


@dataclass(frozen=True)
class Condition:
    """What a sample is asked to be. Weights in it are tokens already: the synthesizer encodes them.

    `start`: the networks to start from, one a sample. `accuracy`: the wanted accuracy as a fraction, and `loss`: the
    wanted mean cross-entropy, for all samples or `[sample]`. `dataset`, `architecture`: names. `given`: what of the
    weights is known already, of one network for all samples or of one a sample.
    """

    start: Tokens | None = None
    accuracy: float | Float[Tensor, " sample"] | None = None
    loss: float | Float[Tensor, " sample"] | None = None
    dataset: str | None = None
    architecture: str | None = None
    given: Given | None = None

    def asked(self) -> frozenset[str]:
        """The names of the fields that were filled in."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)


@dataclass(frozen=True)
class Trajectory:
    """The states of a sampler, first to last, or only the last; each `Tokens` holds the whole batch.

    For a stochastic sampler whose steps were kept, `means` `[batch, token, dim]`, `deviations` and `log_probabilities`
    `[batch]` (sums over the valid dimensions, float32) of each of them; empty for a deterministic one.
    """

    states: tuple[Tokens, ...]
    means: tuple[Tensor, ...] = ()
    deviations: tuple[Tensor, ...] = ()
    log_probabilities: tuple[Tensor, ...] = ()

    @property
    def final(self) -> Tokens:
        return self.states[-1]


@runtime_checkable
class Decoder(Protocol):
    """Tokens to weights, differentiable. Padding never influences a result."""

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        """Weights of `layout`. Raises `LayoutMismatch` for a layout that it does not cover."""
        ...


@runtime_checkable
class Codec(Decoder, Protocol):
    """A decoder with `fit` and `encode`; `decode(encode(w))` is `w` wherever `exactness` says so.

    Exact means: within 1e-6 of each tensor's root mean square. Up to symmetry: `decode(encode(w))` is the canonical
    form of w, a network of the same function with other weights. A lossy codec is exact nowhere: measure what it loses.
    """

    @property
    def exactness(self) -> Exactness: ...

    def space(self) -> TokenSpace:
        """Where its tokens lie. Raises `BadInput` before `fit` or `restore`."""
        ...

    def fit(self, weights: Weights) -> None:
        """Learn what is needed from training networks. Raises `BadInput` when there are too few."""
        ...

    def encode(self, weights: Weights) -> Tokens:
        """Tokens of networks of the fitted layout. Raises `LayoutMismatch` for another."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` needs, for a safetensors file."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        """The inverse of `tensors`, in place of `fit`."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Samples tokens; knows nothing of files, data sets or accuracy. Randomness comes in as an argument."""

    understands: frozenset[str]
    has_likelihood: bool
    network: nn.Module

    def sample(
        self,
        n: int,
        condition: Condition,
        rng: torch.Generator,
        *,
        steps: int | None = None,
        keep: Literal["last", "all"] = "last",
        **how: Any,
    ) -> Trajectory:
        """`n` samples in `steps` steps (its own number without), and all states or the last of them.

        `how`: what else the generator lets one choose. Raises `BadInput` for a condition or choice that it does not
        understand.
        """
        ...


@dataclass(frozen=True)
class LossRecord:
    """A loss to minimise (scalar, differentiable) and named parts of it for the log."""

    loss: Tensor
    parts: Mapping[str, float]


@runtime_checkable
class Objective(Protocol):
    """What training minimises, as a function of a generator and a batch of examples `{name: [batch, ...]}`."""

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord: ...


def said(exactness: str) -> str:
    """A codec's exactness as a clause of a sentence."""
    return "lossy" if exactness == "lossy" else f"exact {exactness}"


def refuse_unknown_conditions(condition: Condition, understands: frozenset[str], who: str) -> None:
    """Raise `BadInput` naming a condition that `who` was not made for."""
    for name in sorted(condition.asked() - understands):
        known = ", ".join(sorted(understands)) or "no condition"
        raise BadInput(f"{who} does not understand the condition {name!r}", f"leave it out; it understands {known}")


def refuse_choices(how: Mapping[str, Any], who: str) -> None:
    """Raise `BadInput` naming a choice of sampling that `who` does not give."""
    for name in how:
        raise BadInput(f"{who} gives no choice of {name!r}", "leave it out")
