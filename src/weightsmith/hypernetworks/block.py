"""The block that hypernetworks are made of: attention and a perceptron, told of each token what is known of it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention among all tokens and a perceptron on each, both behind a norm modulated by what is known of a token.

    At its start it leaves tokens almost as they are, as residual branches are begun to train deep networks.
    """

    def __init__(self, dim: int, heads: int, attention: bool = True) -> None:
        super().__init__()
        self.heads = heads if attention else 0
        self.modulation = nn.Linear(dim, (4 if attention else 2) * dim)
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False)
        if attention:
            self.qkv = nn.Linear(dim, 3 * dim)
            self.out = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        for last in (self.down, *([self.out] if attention else [])):
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor, known: Tensor, of: Tensor | None = None) -> Tensor:
        """`[token, dim]` to the same shape; `known` of each, or of what `of` says that it belongs to."""
        said = self.modulation(F.silu(known)).unflatten(-1, (-1, 2, known.shape[-1]))  # (K, 1 or 2, 2, D)
        said = said if of is None else said.index_select(0, of)
        if self.heads:
            x = self.norm1(tokens) * (1 + said[:, 1, 0]) + said[:, 1, 1]
            q, k, v = self.qkv(x).reshape(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)[:, None].unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).reshape(len(x), -1)  # (N, H D)
            tokens = tokens + self.out(mixed)
        x = self.norm2(tokens) * (1 + said[:, 0, 0]) + said[:, 0, 1]
        y: Tensor = tokens + self.down(F.gelu(self.up(x)))
        return y
