"""Networks on patches: vision transformers, MLP-mixers, and such as have no layer over features between the ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightsmith.architectures.families.parts import ACTIVATIONS
from weightsmith.settings.architecture_options import SUMS


class Attention(nn.Module):
    """Multi-head self-attention over tokens (Vaswani et al. 2017).

    Queries, keys and values are three layers (`separate`) or one, whose outputs are viewed as three (`packed`) or cut
    into them (`chunked`): one function in three spellings, of which each has a graph of its own.
    """

    def __init__(self, dim: int, heads: int, projections: str = "packed") -> None:
        super().__init__()
        self.heads, self.projections = heads, projections
        if projections == "separate":
            self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        else:
            self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, token, dim]` to the same shape."""
        batch, tokens, dim = x.shape
        q, k, v = self._projected(x)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, T, D)
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return y

    def _projected(self, x: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values, `[batch, head, token, dim / heads]` each."""
        batch, tokens, dim = x.shape
        if self.projections == "packed":
            parts = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)  # (B, T, 3, H, D)
            return parts.permute(2, 0, 3, 1, 4).unbind(0)
        chunked = self.projections == "chunked"
        apart = self.qkv(x).chunk(3, -1) if chunked else (self.query(x), self.key(x), self.value(x))
        return [part.reshape(batch, tokens, self.heads, dim // self.heads).transpose(1, 2) for part in apart]


class LatentAttention(nn.Module):
    """Self-attention among learned sums of the tokens, spread over the tokens again by as many learned sums."""

    def __init__(self, tokens: int, latents: int, dim: int, heads: int, projections: str = "packed") -> None:
        super().__init__()
        self.gather, self.spread = nn.Linear(tokens, latents), nn.Linear(latents, tokens)
        self.attention = Attention(dim, heads, projections)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, token, dim]` to the same shape."""
        latents = self.attention(self.gather(x.transpose(1, 2)).transpose(1, 2))  # (B, L, D)
        y: Tensor = self.spread(latents.transpose(1, 2)).transpose(1, 2)
        return y


class Mixing(nn.Module):
    """Two linear layers over the tokens, the same for every channel (Tolstikhin et al. 2021)."""

    def __init__(self, tokens: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.body = _perceptron(tokens, hidden, activation)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, token, dim]` to the same shape."""
        y: Tensor = self.body(x.transpose(1, 2)).transpose(1, 2)
        return y


class PatchBlock(nn.Module):
    """`x + mix(norm(x))` where anything mixes tokens, then `x + perceptron(norm(x))` where that has `hidden` units.

    Unless `norm_first`, `norm(x + mix(x))` and `norm(x + perceptron(x))`.
    """

    def __init__(self, dim: int, hidden: int, activation: str, mix: nn.Module | None, norm_first: bool = True) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm1 = nn.LayerNorm(dim) if mix is not None else None
        self.mix = mix
        self.norm2 = nn.LayerNorm(dim) if hidden else None
        self.mlp = _perceptron(dim, hidden, activation) if hidden else None

    def forward(self, x: Tensor) -> Tensor:
        if self.norm1 is not None and self.mix is not None:
            x = x + self.mix(self.norm1(x)) if self.norm_first else self.norm1(x + self.mix(x))
        if self.norm2 is not None and self.mlp is not None:
            x = x + self.mlp(self.norm2(x)) if self.norm_first else self.norm2(x + self.mlp(x))
        return x


class PatchNetwork(nn.Module):
    """Patches embedded, blocks, a last norm, and a linear head.

    It reads the mean of the tokens (`pool` is `average`), a class token (`token`), or learned sums of them (`linear`).
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, patch: int, dim: int, positions: bool, pool: str
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(input_shape[0], dim, patch, patch)
        self.tokens = (input_shape[1] // patch) * (input_shape[2] // patch)
        token = pool == "token"
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, dim)) if token else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, self.tokens + token, dim)) if positions else None
        self.blocks = nn.ModuleList()
        self.norm = nn.LayerNorm(dim)
        self.sums = nn.Linear(self.tokens, SUMS) if pool == "linear" else None
        self.head = nn.Linear(dim * (SUMS if pool == "linear" else 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[batch, channel, height, width]` to logits `[batch, class]`."""
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, T, D)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        if self.positions is not None:
            x = x + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.sums is not None:
            read = self.sums(x.transpose(1, 2)).flatten(1)  # (B, D S)
        else:
            read = x[:, 0] if self.token is not None else x.mean(1)
        logits: Tensor = self.head(read)
        return logits


def build_vit(
    input_shape: Sequence[int],
    classes: int,
    patch: int = 7,
    dim: int = 64,
    depth: int = 2,
    heads: int = 4,
    ratio: int = 2,
    activation: str = "gelu",
    pool: str = "average",
    positions: bool = True,
    latents: int = 0,
    projections: str = "packed",
    norm_first: bool = True,
) -> PatchNetwork:
    """A vision transformer (Dosovitskiy et al. 2021); `pool` is `average`, `token` or `linear`.

    Without `heads` tokens do not see one another before the head; with `latents`, so many sums of them attend to each
    other in their place.
    """
    network = PatchNetwork(input_shape, classes, patch, dim, positions, pool)
    for _ in range(depth):
        attention: nn.Module | None = Attention(dim, heads, projections) if heads else None
        if latents:
            attention = LatentAttention(network.tokens + (pool == "token"), latents, dim, heads, projections)
        network.blocks.append(PatchBlock(dim, ratio * dim, activation, attention, norm_first))
    return network


def build_mixer(
    input_shape: Sequence[int],
    classes: int,
    patch: int = 4,
    dim: int = 64,
    depth: int = 2,
    token_hidden: int = 64,
    ratio: int = 2,
    activation: str = "gelu",
) -> PatchNetwork:
    """An MLP-mixer (Tolstikhin et al. 2021) with the mean of the tokens in front of its head."""
    network = PatchNetwork(input_shape, classes, patch, dim, positions=False, pool="average")
    for _ in range(depth):
        mixing = Mixing(network.tokens, token_hidden, activation)
        network.blocks.append(PatchBlock(dim, ratio * dim, activation, mixing))
    return network


def build_tokens(
    input_shape: Sequence[int],
    classes: int,
    patch: int = 4,
    dim: int = 64,
    blocks: Sequence[str] = ("perceptron", "attention"),
    hidden: int = 64,
    heads: int = 4,
    activation: str = "gelu",
    pool: str = "average",
    positions: bool = False,
) -> PatchNetwork:
    """Blocks that mix tokens, and none that mixes features but as attention does; `pool` is `average` or `linear`.

    `blocks` are `perceptron` (over the tokens, of `hidden` units), `attention`, or `latents` (`hidden` learned sums of
    the tokens attend to each other).
    """
    network = PatchNetwork(input_shape, classes, patch, dim, positions, pool)
    make: dict[str, Callable[[], nn.Module]] = {
        "perceptron": lambda: Mixing(network.tokens, hidden, activation),
        "attention": lambda: Attention(dim, heads),
        "latents": lambda: LatentAttention(network.tokens, hidden, dim, heads),
    }
    for kind in blocks:
        network.blocks.append(PatchBlock(dim, 0, activation, make[kind]()))
    return network


def _perceptron(width: int, hidden: int, activation: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, width))
