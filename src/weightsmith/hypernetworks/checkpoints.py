"""Checkpoints of many architectures, as a flow over weights learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks.blueprint import Blueprint


@dataclass(frozen=True)
class Checkpoints:
    """Trained networks: the architecture of each and its tensors by name. Raises `BadInput` where the two differ."""

    architectures: Sequence[Architecture]
    weights: Sequence[Mapping[str, Tensor]]

    def __post_init__(self) -> None:
        if len(self.architectures) != len(self.weights) or not self.weights:
            counts = f"{len(self.architectures)} architectures and {len(self.weights)} networks"
            raise BadInput(counts, "give the architecture of each network, and one at least")
        object.__setattr__(self, "_blueprints", {})  # not a field: it follows from the architectures

    def __len__(self) -> int:
        return len(self.weights)

    def blueprint(self, number: int) -> Blueprint:
        """The blueprint of one of them; an architecture is traced once."""
        known: dict[str, Blueprint] = self.__dict__["_blueprints"]
        architecture = self.architectures[number]
        key = architecture.fingerprint
        if key not in known:
            known[key] = Blueprint.of(ParameterGraph.of(architecture.build(0), architecture.input_shape))
        return known[key]
