"""The span codec: coordinates of a network in the affine span of its training checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.codecs.coverage import require_covered, require_fitted, require_shapes
from weightsmith.errors import BadInput
from weightsmith.interfaces import Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace

RELATIVE_RANK = 1e-7  # float32 checkpoints cannot tell smaller directions from rounding


class SpanCodec:
    """`z = Q (w - m)` with the mean m and orthonormal rows Q of the span of the n training checkpoints.

    Q has at most n - 1 rows. `mse(z) d / parameters` is the mean squared error in weights, and a minimiser of the
    note's loss, which answers with points of this span, is represented exactly. Encoding a network outside the span
    *projects* it: of an unseen random init hardly anything remains, so what is generated from it depends on it hardly
    at all, by construction.
    """

    exactness: Exactness = "on its training checkpoints"

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._mean = self._basis = torch.empty(0)

    def space(self) -> TokenSpace:
        require_fitted(self._layout, "span")
        return TokenSpace.single(len(self._basis))

    def fit(self, weights: Weights) -> None:
        """Compute mean and basis in float64. Raises `BadInput` for fewer than two distinct networks."""
        vectors = weights.vectors.double()
        if len(vectors) < 2:
            raise BadInput(f"{len(vectors)} network to fit the span codec on", "give at least two checkpoints")
        mean = vectors.mean(dim=0)
        _, singular, basis = torch.linalg.svd(vectors - mean, full_matrices=False)
        rank = int((singular > RELATIVE_RANK * vectors.norm(dim=1).max()).sum())
        if rank == 0:
            raise BadInput("all networks to fit the span codec on are the same", "give checkpoints that differ")
        # The sign of a singular vector is arbitrary: fix it, so that equal checkpoints give equal coordinates.
        coordinates = (vectors - mean) @ basis[:rank].T
        signs = torch.where(coordinates[0] >= 0, 1.0, -1.0)
        self._basis = (basis[:rank] * signs[:, None]).float().contiguous()  # as it will be read from a file
        self._mean = mean.float()
        self._layout = weights.layout

    def encode(self, weights: Weights) -> Tokens:
        require_covered(self._layout, weights.layout, "span", "networks to encode")
        centred = (weights.vectors - self._mean.to(weights.vectors.device)).float()
        return Tokens.single(centred @ self._basis.T.to(centred.device))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, "span", "layout to decode to")
        coordinates: Float[Tensor, "batch dim"] = tokens.vectors()
        mean, basis = (part.to(coordinates.device) for part in (self._mean, self._basis))
        vectors = (mean + coordinates @ basis).to(layout.dtype)
        return Weights.generated(layout, vectors)

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "basis": self._basis}

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        rank = len(tensors["basis"]) if "basis" in tensors else 0
        require_shapes(tensors, {"mean": (layout.parameters,), "basis": (rank, layout.parameters)})
        self._mean, self._basis = tensors["mean"], tensors["basis"]
        self._layout = layout
