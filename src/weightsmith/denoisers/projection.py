"""Into and out of a transformer's width: tokens of different tensors live in different spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.denoisers.modulation import zeroed
from weightsmith.denoisers.numbers import constant
from weightsmith.tokens import TokenSpace

Sharing = Literal["tensor", "all"]


class Groups(nn.Module):
    """Tokens that share a projection: for each group its tokens, and the columns in which any of them is valid.

    `sharing="tensor"`: a group a tensor of the layout, in order of appearance; "all": one group of all tokens.
    `places`: where each number of each group, one group after another, lies in a flattened `[token, dim]`.
    `order`: where each token of the space stands when the groups are laid end to end.
    """

    places: Tensor
    order: Tensor

    def __init__(self, space: TokenSpace, sharing: Sharing) -> None:
        super().__init__()
        self.shape = tuple(space.valid.shape)
        keys = [meaning.tensor if sharing == "tensor" else "*" for meaning in space.meanings]
        valid, places, order = constant(space.valid), [], []
        self.sizes: list[tuple[int, int]] = []  # tokens and columns of each group
        for key in dict.fromkeys(keys):
            tokens = constant([i for i, other in enumerate(keys) if other == key])
            columns = valid[tokens].any(dim=0).nonzero().flatten()
            places.append((tokens[:, None] * self.shape[1] + columns).flatten())
            order.append(tokens)
            self.sizes.append((len(tokens), len(columns)))
        self.register_buffer("places", torch.cat(places), persistent=False)
        self.register_buffer("order", torch.cat(order).argsort(), persistent=False)

    def split(self, x: Float[Tensor, "batch channel token dim"]) -> list[Float[Tensor, "batch _ _"]]:
        """What each group's projection reads: `[batch, group's tokens, channels * group's columns]`."""
        flat = x.flatten(2).index_select(2, self.places)
        parts = flat.split([tokens * columns for tokens, columns in self.sizes], dim=2)
        return [
            part.unflatten(2, (tokens, columns)).transpose(1, 2).flatten(2)
            for part, (tokens, columns) in zip(parts, self.sizes, strict=True)
        ]

    def join(self, parts: Sequence[Float[Tensor, "batch _ width"]]) -> Float[Tensor, "batch token width"]:
        """Tokens of all groups in the order of the space."""
        joined = torch.cat(list(parts), dim=1)
        return joined if len(parts) == 1 else joined.index_select(1, self.order)

    def portions(self, h: Float[Tensor, "batch token width"]) -> list[Float[Tensor, "batch _ width"]]:
        """The inverse of `join`."""
        if len(self.sizes) == 1:
            return [h]
        return list(h.index_select(1, self.order.argsort()).split([tokens for tokens, _ in self.sizes], dim=1))

    def scatter(self, parts: Sequence[Float[Tensor, "batch _ _"]]) -> Float[Tensor, "batch token dim"]:
        """The inverse of `split` for one channel, with zeros in the columns that no group has."""
        flat = torch.cat([part.flatten(1) for part in parts], dim=1)
        tokens, dim = self.shape
        return flat.new_zeros(len(flat), tokens * dim).index_copy(1, self.places, flat).view(-1, tokens, dim)


class InputProjection(nn.Module):
    """`h_i = W_g x_i + b_g` for token i of group g."""

    def __init__(self, groups: Groups, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels * columns, width) for _, columns in groups.sizes)

    def forward(
        self, groups: Groups, x: Float[Tensor, "batch channel token dim"]
    ) -> Float[Tensor, "batch token width"]:
        return groups.join([layer(part) for layer, part in zip(self.layers, groups.split(x), strict=True)])


class OutputProjection(nn.Module):
    """`y_i = V_g h_i + c_g` for token i of group g, zero at first."""

    def __init__(self, groups: Groups, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(zeroed(nn.Linear(width, columns)) for _, columns in groups.sizes)

    def forward(self, groups: Groups, h: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token dim"]:
        return groups.scatter([layer(part) for layer, part in zip(self.layers, groups.portions(h), strict=True)])
