"""The note's generator: a network that maps the weights of epoch N to those of epoch N + 1, applied again and again."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from weightsmith.denoisers.mlp import TimeMLP
from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Trajectory, refuse_choices, refuse_unknown_conditions
from weightsmith.tokens import TokenSpace


class TransitionGenerator:
    """`z_{k+1} = f(z_k, k)` for k = 0, 1, ... from the start given in the condition; deterministic, no likelihood.

    `network` maps tokens `[batch, dim]` and times `[batch]` to tokens.
    """

    understands = frozenset({"start"})
    has_likelihood = False

    def __init__(self, network: nn.Module) -> None:
        self.network = network

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
        """The state after so many steps (one without); with `keep="all"` the start and all states, `steps + 1`.

        Raises `BadInput` without a start, or when `n` is not the number of starts.
        """
        refuse_unknown_conditions(condition, self.understands, "the transition generator")
        refuse_choices(how, "the transition generator")
        start = condition.start
        if start is None or len(start) != n:
            given = "no start weights" if start is None else f"{len(start)} start weights for {n} samples"
            raise BadInput(f"the transition generator was given {given}", "give one start network a sample")
        states = [start]
        with torch.no_grad():
            for step in range(1 if steps is None else steps):
                vectors = states[-1].vectors()
                time = torch.full((n,), float(step), device=vectors.device, dtype=vectors.dtype)
                states.append(start.replace(self.network(vectors, time)[:, None, :]))
        return Trajectory(tuple(states) if keep == "all" else (states[-1],))


def make_transition(
    space: TokenSpace, seed: int, time_embedding: int = 128, hidden: int = 512, layers: int = 2
) -> TransitionGenerator:
    """The generator with the note's network for one token a network; `seed` gives its initial weights.

    Raises `BadInput` for a space of several tokens.
    """
    if len(space) != 1:
        raise BadInput(f"the transition generator reads one token, not {len(space)}", "use codec flat or span")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransitionGenerator(TimeMLP(space.dim, time_embedding, hidden, layers))
