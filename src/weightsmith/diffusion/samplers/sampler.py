"""What a sampler is: it says where the next state lies, given a denoiser; it keeps no state of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.predictions import Denoised
from weightsmith.diffusion.transition import Multistep, Transition

Predict = Callable[[Tensor, Tensor], Denoised]


@runtime_checkable
class Sampler(Protocol):
    """A rule for one step. `stochastic`: its transitions have a standard deviation, hence log-probabilities."""

    @property
    def stochastic(self) -> bool: ...

    def transition(
        self,
        predict: Predict,
        x: Float[Tensor, " batch *rest"],
        t: Float[Tensor, " batch"],
        next_t: Float[Tensor, " batch"],
        path: Path,
        memory: Multistep | None = None,
    ) -> Transition:
        """The distribution of the state at `next_t [batch]` given `x` at `t [batch]`, `next_t < t`.

        `predict(x, t)` gives data and noise. `memory` is what the transition before gave, None at the start.
        """
        ...
