"""The subset stage: a codec of the tensors of some roles only; the others come from the mean training network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from weightsmith.codecs.coverage import (
    require_covered,
    require_encodable,
    require_fitted,
    require_networks,
    require_shapes,
)
from weightsmith.codecs.given import positions_of
from weightsmith.codecs.nesting import beside, nested, under
from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec, Exactness
from weightsmith.layout import ROLES, Layout, Weights
from weightsmith.tokens import Tokens, TokenSpace


class SubsetCodec:
    """The inner codec speaks of the tensors whose role is one of `roles`; a decoded network is completed by the rest.

    The rest is the mean of the training networks, number by number; of a single training network, that network's own.
    So the note's example, which generates weights only, is completed by the biases of the classifier it was made from.
    Where anything is left out the codec is lossy.
    """

    def __init__(self, inner: Codec, roles: Sequence[str]) -> None:
        unknown = [role for role in roles if role not in ROLES]
        if unknown or not roles:
            raise BadInput(f"roles={list(roles)} of a codec", f"name one or more of {', '.join(ROLES)}")
        self.inner, self.roles = inner, frozenset(roles)
        self._layout: Layout | None = None
        self._rest = torch.empty(0)

    @property
    def exactness(self) -> Exactness:
        whole = self._layout is not None and len(self._columns(self._layout)) == self._layout.parameters
        return self.inner.exactness if whole else "lossy"

    def space(self) -> TokenSpace:
        require_fitted(self._layout, "subset")
        return self.inner.space()

    def positions(self) -> Int[Tensor, "token dim"]:
        """Where in the whole layout's vector each number of a token comes from; -1 for padding."""
        columns, inner = self._columns(require_fitted(self._layout, "subset")), positions_of(self.inner)
        return torch.where(inner >= 0, columns[inner.clamp(min=0)], -1)

    def fit(self, weights: Weights) -> None:
        """Fit the inner codec on the subset. Raises `BadInput` when no tensor has one of the roles."""
        require_networks(weights, "subset")
        if not len(self._columns(weights.layout)):
            there = sorted({spec.role for spec in weights.layout.floating})
            raise BadInput(f"no tensor has a role of roles={sorted(self.roles)}", f"these networks have {there}")
        self.inner.fit(self._subset(weights))
        self._rest = weights.vectors.double().mean(dim=0).to(weights.layout.dtype)
        self._layout = weights.layout

    def encode(self, weights: Weights) -> Tokens:
        require_encodable(self._layout, weights, "subset")
        return self.inner.encode(self._subset(weights))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_covered(self._layout, layout, "subset", "layout to decode to")
        values = self.inner.decode(tokens, self._chosen(layout)).vectors
        rest = self._rest.to(values.device).expand(len(values), -1)
        columns = self._columns(layout).to(values.device)
        return Weights.generated(layout, rest.index_copy(1, columns, values.to(rest.dtype)))

    def tensors(self) -> dict[str, Tensor]:
        return {"rest": self._rest, **nested("inner", self.inner.tensors())}

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        require_shapes(beside(tensors, "inner"), {"rest": (layout.parameters,)})
        self.inner.restore(under("inner", tensors), self._chosen(layout))
        self._rest, self._layout = tensors["rest"], layout

    def _chosen(self, layout: Layout) -> Layout:
        return Layout(tuple(spec for spec in layout.floating if spec.role in self.roles))

    def _columns(self, layout: Layout) -> Tensor:
        spans = [layout.offsets[spec.name] for spec in layout.floating if spec.role in self.roles]
        return torch.cat([torch.arange(0), *[torch.arange(*span) for span in spans]])

    def _subset(self, weights: Weights) -> Weights:
        chosen = self._chosen(weights.layout)
        columns = self._columns(weights.layout).to(weights.vectors.device)
        return Weights(chosen, weights.vectors[:, columns].to(chosen.dtype), {})
