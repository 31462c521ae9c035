"""The note's network: a multilayer perceptron on a flat vector and an embedding of the time step."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TimeMLP(nn.Module):
    """`y = W3 relu(W2 relu(W1 [x, e(t)]))` with `e(t) = V2 relu(V1 t)`; `x`, `y` are `[batch, dim]`, `t` is `[batch]`.

    With `time_embedding` 128, `hidden` 512 and two `layers` on 421,642 weights this is the note's model
    (section 2.2.1), which holds 432,528,522 parameters.
    """

    def __init__(self, dim: int, time_embedding: int = 128, hidden: int = 512, layers: int = 2) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, time_embedding), nn.ReLU(), nn.Linear(time_embedding, time_embedding))
        widths = [dim + time_embedding] + [hidden] * layers
        body: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            body += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.body = nn.Sequential(*body, nn.Linear(widths[-1], dim))

    def forward(self, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        return self.body(torch.cat([x, self.time(t[:, None])], dim=1))
