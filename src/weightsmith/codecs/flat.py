"""The flat codec: one token a network, every tensor standardised by its own mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weightsmith.codecs.coverage import require_covered, require_fitted, require_shapes
from weightsmith.errors import BadInput
from weightsmith.interfaces import Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace


class FlatCodec:
    """`z = (w - m_t) / s_t` with the mean and standard deviation of each tensor t over all training networks.

    `standardise=False` passes the weights on as they are, as the note does. A constant tensor has `s_t = 1`.
    """

    exactness: Exactness = "everywhere"

    def __init__(self, standardise: bool = True) -> None:
        self.standardise = standardise
        self._layout: Layout | None = None
        self._mean = self._scale = torch.empty(0)

    def space(self) -> TokenSpace:
        return TokenSpace.single(require_fitted(self._layout, "flat").parameters)

    def fit(self, weights: Weights) -> None:
        """Measure each tensor's mean and deviation in float64. Raises `BadInput` when there is no network."""
        if len(weights) < 1:
            raise BadInput("no network to fit the flat codec on", "give at least one")
        spans = weights.layout.offsets.values()
        values = [weights.vectors[:, start:end].double() for start, end in spans]
        if self.standardise:
            self._mean = torch.stack([value.mean() for value in values])
            scales = [value.std(correction=0) for value in values]
            self._scale = torch.stack([torch.where(scale > 0, scale, 1.0) for scale in scales])
        else:
            self._mean, self._scale = torch.zeros(len(values)).double(), torch.ones(len(values)).double()
        self._layout = weights.layout

    def encode(self, weights: Weights) -> Tokens:
        require_covered(self._layout, weights.layout, "flat", "networks to encode")
        if not self.standardise:
            return Tokens.single(weights.vectors)
        mean, scale = self._expanded(weights.vectors)
        return Tokens.single(((weights.vectors.double() - mean) / scale).to(weights.vectors.dtype))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, "flat", "layout to decode to")
        vectors = tokens.vectors()
        if self.standardise:
            mean, scale = self._expanded(vectors)
            vectors = (vectors.double() * scale + mean).to(vectors.dtype)
        return Weights.generated(layout, vectors)

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "scale": self._scale}

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        require_shapes(tensors, {"mean": (len(layout.floating),), "scale": (len(layout.floating),)})
        self._mean, self._scale, self._layout = tensors["mean"], tensors["scale"], layout

    def _expanded(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        assert self._layout is not None
        sizes = torch.tensor([spec.numel for spec in self._layout.floating])
        expanded = (torch.repeat_interleave(value, sizes).to(vectors.device) for value in (self._mean, self._scale))
        return next(expanded), next(expanded)
