"""The PCA codec: coordinates of a network along the principal axes of its training networks, all of them or a few."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.codecs.coverage import (
    require_covered,
    require_encodable,
    require_fitted,
    require_networks,
    require_shapes,
    require_tokens,
)
from weightsmith.codecs.principal import principal_axes
from weightsmith.errors import BadInput
from weightsmith.interfaces import Exactness
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace


class PcaCodec:
    """`z = Q (w - m) / s` with the mean m, orthonormal rows Q, and deviations s of the coordinates of the training set.

    `components`: how many rows, or None for all, of which there are at most one less than training networks. Without
    `whiten`, `s = 1`. Whatever is generated lies in the span of the training networks; a network outside it is
    *projected*. With all components training networks are exact; with fewer, `kept_variance` says what share of their
    variance remains. Q is found in float64 and stored in the layout's dtype, whose rounding `encode` takes into
    account; rows that a compact synthesizer rounded further make it lossy.
    """

    def __init__(self, components: int | None = None, whiten: bool = True, name: str = "pca") -> None:
        if components is not None and components < 1:
            raise BadInput(f"components={components} of the {name} codec is too few", "use 1 or more, or null for all")
        self.components, self.whiten, self._name = components, whiten, name
        self._layout: Layout | None = None
        self._mean = self._basis = self._scale = torch.empty(0)
        self._kept = torch.tensor(0.0 if components else 1.0, dtype=torch.float64)
        self._stored: torch.dtype | None = None  # of the rows, where they were rounded to be stored

    @property
    def exactness(self) -> Exactness:
        return "on its training checkpoints" if self.kept_variance == 1.0 and self._stored is None else "lossy"

    @property
    def kept_variance(self) -> float:
        """The share of the training networks' variance that the components keep; 1 when nothing is lost."""
        return float(self._kept)

    def space(self) -> TokenSpace:
        require_fitted(self._layout, self._name)
        return TokenSpace.single(len(self._basis))

    def fit(self, weights: Weights) -> None:
        """Find the axes. Raises `BadInput` for fewer than two distinct networks, or fewer axes than `components`."""
        require_networks(weights, self._name, least=2)
        found = principal_axes(weights.vectors.double(), self.components)
        rank = len(found.axes)
        if rank == 0:
            raise BadInput(
                f"all networks to fit the {self._name} codec on are the same", "give checkpoints that differ"
            )
        if self.components is not None and rank < self.components:
            raise BadInput(
                f"components={self.components}, but {len(weights)} networks vary in {rank} directions only",
                f"use at most {rank} components, or null for all",
            )
        layout = weights.layout
        self._mean, self._basis = (part.to(layout.dtype).contiguous() for part in (found.mean, found.axes))
        self._scale = (found.deviations if self.whiten else torch.ones(rank)).to(layout.dtype)
        self._kept, self._layout, self._stored = torch.tensor(found.kept, dtype=torch.float64), layout, None

    def encode(self, weights: Weights) -> Tokens:
        require_encodable(self._layout, weights, self._name)
        mean, basis, scale = (part.to(weights.vectors.device).double() for part in self._parts())
        products = (weights.vectors.double() - mean) @ basis.T
        # Rounded rows are not quite orthonormal: least squares, where small tensors must not pay for large ones.
        coordinates = torch.cholesky_solve(products.T, torch.linalg.cholesky(basis @ basis.T)).T
        return Tokens.single((coordinates / scale).to(weights.layout.dtype))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, self._name, "layout to decode to")
        require_tokens(tokens, 1, len(self._basis))
        values: Float[Tensor, "batch dim"] = tokens.vectors().to(layout.dtype)
        mean, basis, scale = (part.to(values.device) for part in self._parts())
        return Weights.generated(layout, torch.addmm(mean, values * scale, basis))

    def tensors(self) -> dict[str, Tensor]:
        optional = {"scale": self._scale} if self.whiten else {}
        optional |= {"kept_variance": self._kept} if self.components is not None else {}
        return {"mean": self._mean, "basis": self._basis.to(self._stored or self._basis.dtype), **optional}

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        basis = tensors["basis"] if "basis" in tensors else torch.empty(0)
        rank = self.components if self.components is not None else len(basis)
        shapes: dict[str, tuple[int, ...]] = {"mean": (layout.parameters,), "basis": (rank, layout.parameters)}
        shapes |= {"scale": (rank,)} if self.whiten else {}
        shapes |= {"kept_variance": ()} if self.components is not None else {}
        require_shapes(tensors, shapes)
        self._mean, self._basis, self._layout = tensors["mean"], basis.to(layout.dtype), layout
        self._stored = None if basis.dtype == layout.dtype else basis.dtype
        self._scale = tensors.get("scale", torch.ones(rank, dtype=layout.dtype))
        self._kept = tensors.get("kept_variance", self._kept)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._mean, self._basis, self._scale
