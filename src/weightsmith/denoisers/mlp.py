"""Multilayer perceptrons: the notes' two networks on flat vectors, and a residual one steered by modulation."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weightsmith.denoisers.condition_batch import ConditionBatch, ConditionKinds
from weightsmith.denoisers.conditioning import ConditionEmbedding
from weightsmith.denoisers.embedding import TimeEmbedding
from weightsmith.denoisers.given import GivenBatch
from weightsmith.denoisers.memory import Memory
from weightsmith.denoisers.modulation import Modulation, Skip, modulate, plain_norm, zeroed
from weightsmith.denoisers.numbers import Numbers
from weightsmith.tokens import TokenSpace


class TimeMLP(nn.Module):
    """`y = W3 relu(W2 relu(W1 [x, e(t)]))` with `e(t) = V2 relu(V1 t)`; `x`, `y` are `[batch, dim]`, `t` is `[batch]`.

    With `time_embedding` 128, `hidden` 512 and two `layers` on 421,642 weights this is the note's model
    (section 2.2.1), which holds 432,528,522 parameters.
    """

    def __init__(self, dim: int, time_embedding: int = 128, hidden: int = 512, layers: int = 2) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, time_embedding), nn.ReLU(), nn.Linear(time_embedding, time_embedding))
        self.body = _relu_chain(dim + time_embedding, hidden, layers, dim)

    def forward(self, x: Float[Tensor, "batch dim"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        return self.body(torch.cat([x, self.time(t[:, None])], dim=1))


class SimpleWeightDiffusion(nn.Module):
    """The plain denoiser of the diffusion note: `y = W3 relu(W2 relu(W1 [x, e(t) + c]))` on all valid numbers at once.

    `e` is the sinusoidal `TimeEmbedding`, c the sum of the conditions' vectors (zero without conditions), both
    `time_embedding` wide. Nothing is zero at first. Tokens `[batch, token, dim]`, times `[batch]` in [0, 1].
    """

    def __init__(
        self,
        space: TokenSpace,
        conditions: ConditionKinds,
        *,
        time_embedding: int = 128,
        hidden: int = 512,
        layers: int = 2,
        reads_given: bool = False,
    ) -> None:
        super().__init__()
        self.space, self.reads_given = space, reads_given
        self.numbers = Numbers(space, reads_given)
        self.time = TimeEmbedding(time_embedding, features=2 * max(1, time_embedding // 2))
        self.conditions = ConditionEmbedding(time_embedding, conditions)
        count = len(self.numbers.index)
        self.body = _relu_chain(count * self.numbers.channels + time_embedding, hidden, layers, count)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        t: Float[Tensor, " batch"],
        conditions: ConditionBatch | None = None,
        given: GivenBatch | None = None,
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        c = self.time(t) + self.conditions(conditions, t)
        inputs = self.numbers.flat(self.numbers.read(x, given, mask))
        y = self.body(torch.cat([inputs, c.to(x.dtype)], dim=1))
        return self.numbers.only_real(self.numbers.unflat(y).to(x.dtype), mask)


class ResidualMLP(nn.Module):
    """A residual perceptron on all valid numbers at once, steered by adaptive layer-norm-zero.

    `h_0 = W x`; `h_{i+1} = h_i + g_i f_i(norm(h_i) (1 + a_i) + b_i)` with `f_i` two layers and a GELU between;
    `y = V (norm(h) (1 + a) + b) + s x`. Gates g, shifts b, scales a and s follow from the vector of time and
    conditions; at first V, g, a, b and s are zero, and so is y (Peebles and Xie 2023, section 3.2, on vectors).
    Tokens `[batch, token, dim]`, times `[batch]` in [0, 1]. `expansion`: hidden over outer width of a block. `memory`:
    slots of a `Memory` before the blocks; 0 is none.
    """

    def __init__(
        self,
        space: TokenSpace,
        conditions: ConditionKinds,
        *,
        width: int = 512,
        blocks: int = 4,
        expansion: int = 2,
        memory: int = 0,
        condition_width: int = 128,
        reads_given: bool = False,
    ) -> None:
        super().__init__()
        self.space, self.reads_given = space, reads_given
        self.numbers = Numbers(space, reads_given)
        self.time = TimeEmbedding(condition_width)
        self.conditions = ConditionEmbedding(condition_width, conditions)
        count = len(self.numbers.index)
        self.enter = nn.Linear(count * self.numbers.channels, width)
        recalled = [Memory(width, memory, condition_width)] if memory else []
        body = [_ResidualBlock(width, expansion, condition_width) for _ in range(blocks)]
        self.blocks = nn.ModuleList([*recalled, *body])
        self.norm, self.modulation = plain_norm(width), Modulation(condition_width, width, 2)
        self.leave = zeroed(nn.Linear(width, count))
        self.skip = Skip(condition_width)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        t: Float[Tensor, " batch"],
        conditions: ConditionBatch | None = None,
        given: GivenBatch | None = None,
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        c = self.time(t) + self.conditions(conditions, t)
        channels = self.numbers.read(x, given, mask)
        h = self.enter(self.numbers.flat(channels))
        for block in self.blocks:
            h = block(h, c)
        y = self.leave(modulate(self.norm(h), *self.modulation(c)))
        return self.numbers.only_real(self.skip(self.numbers.unflat(y), channels[:, 0], c), mask)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, expansion: int, condition: int) -> None:
        super().__init__()
        self.norm, self.modulation = plain_norm(width), Modulation(condition, width, 3)
        self.body = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(approximate="tanh"), nn.Linear(expansion * width, width)
        )

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(c)
        return h + gate * self.body(modulate(self.norm(h), shift, scale))


def _relu_chain(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """`layers` hidden layers with ReLU, and a linear one."""
    body: list[nn.Module] = []
    for before, after in pairwise([inputs] + [hidden] * layers):
        body += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(hidden if layers else inputs, outputs))
