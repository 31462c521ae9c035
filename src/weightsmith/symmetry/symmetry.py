"""Symmetry: the permutations of units and the positive scales that leave a network's function as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.graph.groups import Group
from weightsmith.layout import Layout, Weights
from weightsmith.symmetry.acting import reorder, rescale
from weightsmith.symmetry.balancing import balance
from weightsmith.symmetry.matching import match
from weightsmith.symmetry.tensors import copied, learned, views

CHUNK = 2**20  # weights that are aligned at a time: their copies should stay in the caches


@dataclass(frozen=True)
class Symmetry:
    """What may be done to the weights of one layout, input side first, without changing their functions.

    `permutations`: groups of units whose order is free. `scales`: groups of units whose positive scales are free.
    `input_layers`: weight and bias of the linear layers that read the network's input itself. `not_understood`:
    operations whose symmetries are not known; whatever touches them is left as it is.
    """

    layout: Layout
    permutations: tuple[Group, ...]
    scales: tuple[Group, ...]
    input_layers: tuple[tuple[str, str], ...]
    not_understood: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module, input_shape: Sequence[int]) -> Symmetry:
        """The symmetries of a module of one input `[batch, *input_shape]`, which hold for any input.

        So a module must be exportable: what one example shows of a module with branches may not hold for another.
        Raises `NotExportable` (a `BadInput`).
        """
        return cls.of_graph(ParameterGraph.of(module, input_shape, by="export"))

    @classmethod
    def of_graph(cls, graph: ParameterGraph) -> Symmetry:
        """The symmetries that a parameter graph shows; those of a walked one hold on the path that was walked."""
        layers = [operation.parameters for operation in graph.input_layers]
        first = tuple((layer["weight"], layer["bias"]) for layer in layers if {"weight", "bias"} <= layer.keys())
        return cls(graph.layout, graph.permutations, graph.scales, first, graph.not_understood)

    def balance(self, weights: Weights) -> Weights:
        """The same functions with `|u| = |v|` at every scalable unit: the smallest weights that compute them.

        `u` is all that comes into a unit (bias included), `v` all that goes out; computed in float64. A unit whose
        incoming or outgoing weights are all zero keeps its scale. Raises `LayoutMismatch` for another layout.
        """
        self._require_layout(weights)
        if not len(weights) or not self.scales:
            return weights
        vectors = copied(weights).double()
        balance(views(weights.layout, vectors), self.scales)
        return weights.replace(vectors.to(weights.vectors.dtype))

    def align(self, weights: Weights, reference: Weights) -> Weights:
        """Permute the hidden units of each network towards one reference (a batch of one), functions unchanged.

        Running statistics and other buffers move with their units and do not decide. The distance of what is learned
        never grows. Raises `LayoutMismatch` for another layout, and `BadInput` for a reference that is not one network.
        """
        self._require_layout(weights)
        self._require_layout(reference)
        if len(reference) != 1:
            raise BadInput(f"the reference is {len(reference)} networks", "give one network, as weights[:1] is")
        vectors, names = copied(weights), learned(self.layout)
        target = {name: v for name, v in views(self.layout, reference.vectors.detach()).items() if name in names}
        for part in vectors.split(max(1, CHUNK // max(1, self.layout.parameters))):
            match(views(self.layout, part), target, self.permutations)
        return weights.replace(vectors)

    def canonicalise(self, weights: Weights, reference: Weights) -> Weights:
        """Scales balanced, then units aligned to a reference, which should be balanced itself."""
        return self.align(self.balance(weights), reference)

    def permute(self, weights: Weights, orders: Mapping[str, Tensor]) -> Weights:
        """Put the units of named groups in other orders: unit `order[j]` comes to position `j`.

        `orders`: group's name to `[unit]` for all networks, or `[batch, unit]`. Raises `BadInput` for a name that is no
        permutation group's and for what is no order of its units.
        """
        self._require_layout(weights)
        vectors = copied(weights)
        for name, order in orders.items():
            group = _named(self.permutations, name)
            if order.shape[-1] != group.units or not torch.equal(
                order.sort(dim=-1).values, torch.arange(group.units).expand_as(order)
            ):
                raise BadInput(f"not an order of the {group.units} units of {name!r}: {order}", "use torch.randperm")
            reorder(views(self.layout, vectors), group, order.expand(len(weights), -1))
        return weights.replace(vectors)

    def rescale(self, weights: Weights, factors: Mapping[str, Tensor]) -> Weights:
        """Multiply the units of named groups by positive factors where they are made, and divide where they are read.

        `factors`: group's name to `[unit]` for all networks, or `[batch, unit]`. Raises `BadInput` for a name that is
        no scale group's and for factors that are not positive, or not one a unit.
        """
        self._require_layout(weights)
        vectors = copied(weights)
        for name, factor in factors.items():
            group = _named(self.scales, name)
            if factor.shape[-1] != group.units or not bool((factor > 0).all()):
                raise BadInput(f"not {group.units} positive factors for {name!r}: {factor}", "give one a unit")
            rescale(views(self.layout, vectors), group, factor.expand(len(weights), -1))
        return weights.replace(vectors)

    def _require_layout(self, weights: Weights) -> None:
        self.layout.require_same(weights.layout, "weights to transform")


def _named(groups: Sequence[Group], name: str) -> Group:
    found = next((group for group in groups if group.name == name), None)
    if found is None:
        known = ", ".join(group.name for group in groups) or "there are none"
        raise BadInput(f"no group {name!r}", f"known: {known}")
    return found
