"""A transformer on tokens with adaptive layer-norm-zero conditioning: the diffusion transformer on weights."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from weightsmith.denoisers.condition_batch import ConditionBatch, ConditionKinds
from weightsmith.denoisers.conditioning import ConditionEmbedding
from weightsmith.denoisers.embedding import TimeEmbedding
from weightsmith.denoisers.given import GivenBatch
from weightsmith.denoisers.modulation import Modulation, Skip, modulate, plain_norm
from weightsmith.denoisers.numbers import Numbers
from weightsmith.denoisers.position import PositionEmbedding
from weightsmith.denoisers.projection import Groups, InputProjection, OutputProjection, Sharing
from weightsmith.errors import BadInput
from weightsmith.tokens import TokenSpace


class TokenTransformer(nn.Module):
    """Attention among all tokens of a network, each block steered by time and conditions (Peebles and Xie 2023).

    `h_0 = W_g x + p` (projection of the token's group, embedding of its place), then `blocks` times
    `h += g1 attention(norm(h) (1 + a1) + b1)`, `h += g2 mlp(norm(h) (1 + a2) + b2)`, and
    `y = V_g (norm(h) (1 + a) + b) + s x`. Gates g, shifts b, scales a and s follow from the vector of time and
    conditions; V and they are zero at first, and so is y. Tokens `[batch, token, dim]`, times `[batch]` in [0, 1].

    `projections`: whether each tensor of the layout has its own W and V ("tensor"), or "all" share them.
    Raises `BadInput` when `heads` does not divide `width`. Few wide heads are the faster on a CPU: with 1,000 tokens
    most of the time goes into the exponentials of the attention, `heads * token^2` of them.
    """

    def __init__(
        self,
        space: TokenSpace,
        conditions: ConditionKinds,
        *,
        width: int = 192,
        blocks: int = 6,
        heads: int = 3,
        expansion: int = 4,
        condition_width: int = 192,
        projections: Sharing = "tensor",
        reads_given: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise BadInput(f"{heads} heads for a width of {width}", "choose a number of heads that divides the width")
        self.space, self.reads_given = space, reads_given
        self.numbers, self.groups = Numbers(space, reads_given), Groups(space, projections)
        self.time = TimeEmbedding(condition_width)
        self.conditions = ConditionEmbedding(condition_width, conditions)
        self.position = PositionEmbedding(space.meanings, width)
        self.enter = InputProjection(self.groups, self.numbers.channels, width)
        self.blocks = nn.ModuleList(_Block(width, heads, expansion, condition_width) for _ in range(blocks))
        self.norm, self.modulation = plain_norm(width), Modulation(condition_width, width, 2)
        self.leave = OutputProjection(self.groups, width)
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
        channels = self.numbers.read(x, given, mask)  # (B, channels, T, dim)
        h = self.enter(self.groups, channels) + self.position()  # (B, T, width)
        for block in self.blocks:
            h = block(h, c, _attended(mask))
        shift, scale = (part[:, None] for part in self.modulation(c))
        y = self.leave(self.groups, modulate(self.norm(h), shift, scale))  # (B, T, dim)
        return self.numbers.only_real(self.skip(y, channels[:, 0], c), mask)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, expansion: int, condition: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = Modulation(condition, width, 6)
        self.attention_norm, self.mlp_norm = plain_norm(width), plain_norm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(approximate="tanh"), nn.Linear(expansion * width, width)
        )

    def forward(self, h: Tensor, c: Tensor, attended: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (part[:, None] for part in self.modulation(c))
        h = h + gate1 * self._attention(modulate(self.attention_norm(h), shift1, scale1), attended)
        return h + gate2 * self.mlp(modulate(self.mlp_norm(h), shift2, scale2))

    def _attention(self, h: Tensor, attended: Tensor | None) -> Tensor:
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, .)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=attended)
        return self.mix(mixed.transpose(1, 2).flatten(2))


def _attended(mask: Tensor | None) -> Tensor | None:
    """Which tokens may be attended to, `[batch, 1, 1, token]`: all that are real.

    A network without a real token attends to its padding: not every attention kernel gives numbers for nothing.
    """
    return None if mask is None else (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
