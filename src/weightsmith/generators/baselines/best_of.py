"""Best of N: any generator, asked several times, of which a score keeps one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Generator, Trajectory
from weightsmith.tokens import Tokens

Score = Callable[[Tokens], Float[Tensor, " batch"]]


class BestOf:
    """For each sample, the one of `tries` draws of `inner` with the highest `score`.

    The score is what selection may look at (validation accuracy of the decoded networks), never what is reported. A
    score of NaN loses against any other.
    """

    has_likelihood = False

    def __init__(self, inner: Generator, tries: int, score: Score) -> None:
        if tries < 1:
            raise BadInput(f"best of {tries}", "give at least one try")
        self.inner, self.tries, self.score = inner, tries, score
        self.understands = inner.understands
        self.network: nn.Module = inner.network

    def sample(self, n: int, condition: Condition, rng: torch.Generator, **how: Any) -> Trajectory:
        best = self.inner.sample(n, condition, rng, **how).final
        scores = self._scores(best)
        for _ in range(self.tries - 1):
            draw = self.inner.sample(n, condition, rng, **how).final
            found = self._scores(draw)
            better = (found > scores).to(best.values.device)
            scores = torch.maximum(scores, found)
            values = torch.where(better[:, None, None], draw.values, best.values)
            best = Tokens(values, torch.where(better[:, None], draw.mask, best.mask), best.meanings)
        return Trajectory((best,))

    def _scores(self, tokens: Tokens) -> Float[Tensor, " batch"]:
        found = self.score(tokens)
        if tuple(found.shape) != (len(tokens),):
            raise BadInput(
                f"a score of shape {list(found.shape)} for {len(tokens)} samples", "give one number a sample"
            )
        return found.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
