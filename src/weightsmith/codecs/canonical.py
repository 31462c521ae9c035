"""The canonical stage: symmetric copies of a network become one before any codec sees them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightsmith.codecs.coverage import require_encodable, require_fitted, require_networks, require_shapes
from weightsmith.codecs.given import positions_of
from weightsmith.codecs.nesting import beside, nested, under
from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec, Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.symmetry import Symmetry
from weightsmith.tokens import Tokens, TokenSpace

_UP_TO_SYMMETRY: dict[Exactness, Exactness] = {
    "everywhere": "everywhere, up to symmetry",
    "on its training checkpoints": "on its training checkpoints, up to symmetry",
}


class CanonicalCodec:
    """`encode(w) = inner.encode(canonical(w))`: scales balanced, then units permuted towards a reference network.

    `decode` is the inner codec's, so `decode(encode(w))` is the canonical form of w: another network of the same
    function, exact as a function and not as weights. The reference is the medoid of the balanced training networks: the
    one whose summed distance to the others is least, the first of equals. It is stored. Decoding needs no symmetry;
    fitting and encoding do, and raise `BadInput` without.
    """

    def __init__(self, inner: Codec, symmetry: Symmetry | None) -> None:
        self.inner, self.symmetry = inner, symmetry
        self._layout: Layout | None = None
        self._reference = torch.empty(0)

    @property
    def exactness(self) -> Exactness:
        return _UP_TO_SYMMETRY.get(self.inner.exactness, self.inner.exactness)

    def space(self) -> TokenSpace:
        require_fitted(self._layout, "canonical")
        return self.inner.space()

    def positions(self) -> Int[Tensor, "token dim"]:
        """Where in the canonical network's vector each number of a token comes from; -1 for padding."""
        return positions_of(self.inner)

    def canonical(self, weights: Weights) -> Weights:
        """The canonical forms of networks. Raises `BadInput` without a symmetry, or for weights that do not fit."""
        require_encodable(self._layout, weights, "canonical")
        return self._aligned(self._known_symmetry().balance(weights))

    def fit(self, weights: Weights) -> None:
        """Choose the reference and fit the inner codec on canonical networks. Raises `BadInput` for too few."""
        require_networks(weights, "canonical")
        balanced = self._known_symmetry().balance(weights)
        self._reference = balanced.vectors[medoid(balanced.vectors)].clone()
        self.inner.fit(self._aligned(balanced))
        self._layout = weights.layout

    def encode(self, weights: Weights) -> Tokens:
        return self.inner.encode(self.canonical(weights))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        return self.inner.decode(tokens, layout)

    def tensors(self) -> dict[str, Tensor]:
        return {"reference": self._reference, **nested("inner", self.inner.tensors())}

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        require_shapes(beside(tensors, "inner"), {"reference": (layout.parameters,)})
        self.inner.restore(under("inner", tensors), layout)
        self._reference, self._layout = tensors["reference"], layout

    def _aligned(self, balanced: Weights) -> Weights:
        if not len(balanced):
            return balanced
        reference = Weights.generated(balanced.layout, self._reference.to(balanced.vectors)[None])
        return self._known_symmetry().align(balanced, reference)

    def _known_symmetry(self) -> Symmetry:
        if self.symmetry is None:
            raise BadInput(
                "canonical=true, but no symmetry of the network is known",
                "give make_codec the symmetry (Symmetry.of the module), or set canonical=false where it has none",
            )
        return self.symmetry


def medoid(vectors: Float[Tensor, "network parameters"]) -> int:
    """The network whose summed distance to all others is least, the first of those that are equal to nine digits.

    Distances come from one product of all pairs, in float64 about the mean, which thousands of networks can afford.
    """
    centred = vectors.double()
    centred = centred - centred.mean(dim=0)
    squares = centred.square().sum(dim=1)
    apart = (squares[:, None] + squares - 2 * centred @ centred.T).clamp(min=0).fill_diagonal_(0).sqrt().sum(dim=1)
    return int((apart / apart.max().clamp(min=torch.finfo(apart.dtype).tiny)).round(decimals=9).argmin())
