"""How much what is generated depends on the initial weights it is generated from."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from weightsmith.evaluation.distance import NetworkDistance, mean_disagreement
from weightsmith.layout import Weights

MIN_OUTPUTS = 5
MIN_INDEPENDENT = 3


@dataclass(frozen=True)
class Spread:
    """How far networks of one set lie apart: mean pairwise distance and mean pairwise disagreement."""

    distance: float | None
    disagreement: float | None
    networks: int

    @classmethod
    def of(cls, distance: NetworkDistance, canonical: Weights, predictions: Int[Tensor, "network image"]) -> Spread:
        return cls(distance.mean_pairwise(canonical), mean_disagreement(predictions), len(canonical))


@dataclass(frozen=True)
class Dependence:
    """`init_dependence = D(outputs) / D(independent)`, `function_dependence` the same ratio of disagreements.

    D is the mean over pairs: of the outputs for at least five unseen inits, sampler noise fixed, and of at least three
    independently trained networks. 0: the init does not matter; 1: as much as in training. A ratio is `None`
    where there are too few networks or the independent ones do not differ.
    """

    init_dependence: float | None
    function_dependence: float | None

    @classmethod
    def of(cls, outputs: Spread, independent: Spread) -> Dependence:
        enough = outputs.networks >= MIN_OUTPUTS and independent.networks >= MIN_INDEPENDENT

        def ratio(top: float | None, bottom: float | None) -> float | None:
            return top / bottom if enough and top is not None and bottom else None

        return cls(ratio(outputs.distance, independent.distance), ratio(outputs.disagreement, independent.disagreement))
