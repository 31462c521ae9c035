"""The unit codec: a token for each output unit of each layer, chunked where a unit is long."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Int
from torch import Tensor

from weightsmith.codecs.coverage import require_covered, require_encodable, require_fitted, require_tokens
from weightsmith.codecs.places import UnitPlaces
from weightsmith.codecs.standardising import Standard, require_per
from weightsmith.errors import BadInput
from weightsmith.interfaces import Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace


class UnitCodec:
    """A token holds a unit's row of incoming weights and its bias, or its norm parameters and running statistics.

    Which numbers are one unit's is read from names and shapes (`UnitPlaces`): tensors of one module with the same first
    dimension go together; so a transposed convolution, of which that is the input, has a token an input channel. A
    token means the tensor that its first number is of. `width`: the most numbers a token, or None for the longest unit.
    `standardise`: per `tensor`, per `position` over the training networks (of which that needs two), or `none`.
    """

    exactness: Exactness = "everywhere"

    def __init__(self, width: int | None = 256, standardise: str = "tensor") -> None:
        if width is not None and width < 1:
            raise BadInput(
                f"width={width} of the unit codec is too small", "use 1 or more, or null for the longest unit"
            )
        self.width, self._per = width, require_per(standardise, "unit")
        self._standard: Standard | None = None
        self._places: UnitPlaces | None = None

    def space(self) -> TokenSpace:
        return self._fitted().space

    def positions(self) -> Int[Tensor, "token dim"]:
        """Where in the layout's vector each number of a token comes from; -1 for padding."""
        return self._fitted().index

    def fit(self, weights: Weights) -> None:
        """Measure means and deviations in float64. Raises `BadInput` for too few networks."""
        self._standard = Standard.of(weights, self._per, "unit")
        self._places = UnitPlaces.of(weights.layout, self.width)

    def encode(self, weights: Weights) -> Tokens:
        require_encodable(self._layout, weights, "unit")
        assert self._standard is not None
        places, values = self._fitted(), self._standard.apply(weights.vectors)
        index, valid = (part.to(values.device) for part in (places.index, places.space.valid))
        return places.space.tokens(values[:, index.clamp(min=0)].masked_fill(~valid, 0.0))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, "unit", "layout to decode to")
        assert self._standard is not None
        places = self._fitted()
        require_tokens(tokens, *places.index.shape)
        values = tokens.values.flatten(1)[:, places.slots.to(tokens.values.device)]
        return Weights.generated(layout, self._standard.invert(values))

    def tensors(self) -> dict[str, Tensor]:
        return {} if self._standard is None else self._standard.tensors()

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        self._standard = Standard.restored(tensors, layout, self._per)
        self._places = UnitPlaces.of(layout, self.width)

    @property
    def _layout(self) -> Layout | None:
        return None if self._standard is None else self._standard.layout

    def _fitted(self) -> UnitPlaces:
        require_fitted(self._layout, "unit")
        assert self._places is not None
        return self._places
