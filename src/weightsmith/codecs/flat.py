"""The flat codec: one token a network, every tensor standardised by its own mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from weightsmith.codecs.coverage import require_covered, require_encodable, require_fitted, require_tokens
from weightsmith.codecs.standardising import Per, Standard
from weightsmith.interfaces import Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace


class FlatCodec:
    """`z = (w - m_t) / s_t` with the mean and standard deviation of each tensor t over all training networks.

    `standardise=False` passes the weights on as they are, as the note does. A constant tensor has `s_t = 1`.
    """

    exactness: Exactness = "everywhere"

    def __init__(self, standardise: bool = True) -> None:
        self._per: Per = "tensor" if standardise else "none"
        self._standard: Standard | None = None

    def space(self) -> TokenSpace:
        return TokenSpace.single(self._fitted().parameters)

    def positions(self) -> Int[Tensor, "token dim"]:
        """Where in the layout's vector each number of a token comes from."""
        return torch.arange(self._fitted().parameters)[None]

    def fit(self, weights: Weights) -> None:
        """Measure each tensor's mean and deviation in float64. Raises `BadInput` when there is no network."""
        self._standard = Standard.of(weights, self._per, "flat")

    def encode(self, weights: Weights) -> Tokens:
        require_encodable(self._layout, weights, "flat")
        assert self._standard is not None
        return Tokens.single(self._standard.apply(weights.vectors))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, "flat", "layout to decode to")
        assert self._standard is not None
        require_tokens(tokens, 1, layout.parameters)
        return Weights.generated(layout, self._standard.invert(tokens.vectors()))

    def tensors(self) -> dict[str, Tensor]:
        return {} if self._standard is None else self._standard.tensors()

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        self._standard = Standard.restored(tensors, layout, self._per)

    @property
    def _layout(self) -> Layout | None:
        return None if self._standard is None else self._standard.layout

    def _fitted(self) -> Layout:
        return require_fitted(self._layout, "flat")
