"""The nearest training network of each of many networks, without aligning every network to every other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.shortlist import shortlist
from weightsmith.layout import Weights

CANDIDATES = 16
LARGEST_NORM = 1e18  # above it, squares and products of weights overflow float32


@dataclass(frozen=True)
class Nearest:
    """The distance of each network to its nearest reference, and that reference's position.

    A network that is not sound (not finite, or too large to square) has distance NaN and position -1. `exhaustive`:
    each network was aligned to every reference; otherwise a distance is an upper bound of the smallest one.
    """

    distances: Float[Tensor, " network"]
    positions: Int[Tensor, " network"]
    exhaustive: bool

    @property
    def sound(self) -> Bool[Tensor, " network"]:
        return self.positions >= 0


def nearest_reference(
    distance: NetworkDistance, canonical: Weights, references: Weights, candidates: int = CANDIDATES
) -> Nearest:
    """The nearest of `references` (canonical, all sound) to each canonical network.

    Aligning two networks is what costs, so each network is aligned to the `candidates` references that a shortlist
    names, and the distances to these are those of `NetworkDistance.between`. Give samples and held-out networks the
    same number, so that the bound is equally loose for both. Raises `BadInput` without references.
    """
    return _nearest(distance, canonical, references, candidates, leave_own_out=False)


def nearest_other(distance: NetworkDistance, canonical: Weights, candidates: int = CANDIDATES) -> Nearest:
    """The nearest other network of the same set (all sound), leaving out each one itself.

    Raises `BadInput` for fewer than two networks.
    """
    return _nearest(distance, canonical, canonical, candidates, leave_own_out=True)


def sound_networks(weights: Weights) -> Bool[Tensor, " network"]:
    """Which networks distances can be taken of: finite, and not too large to square in float32."""
    return weights.vectors.double().norm(dim=1) < LARGEST_NORM


def _nearest(
    distance: NetworkDistance, canonical: Weights, references: Weights, candidates: int, leave_own_out: bool
) -> Nearest:
    available = len(references) - leave_own_out
    _check(references, available, candidates)
    sound = torch.nonzero(sound_networks(canonical))[:, 0].tolist()
    networks = canonical[sound]
    allowed = torch.ones(len(networks), len(references), dtype=torch.bool)
    if leave_own_out:
        allowed.fill_diagonal_(False)
    exhaustive = distance.symmetry is None or candidates >= available
    if sound and not exhaustive:
        allowed = shortlist(distance, networks, references, allowed, candidates)
    distances, positions = torch.full((len(canonical),), torch.nan), torch.full((len(canonical),), -1)
    if sound:
        distances[sound], positions[sound] = _refined(distance, networks, references, allowed).min(dim=1)
    return Nearest(distances, positions, exhaustive)


def _check(references: Weights, available: int, candidates: int) -> None:
    if available < 1 or candidates < 1:
        raise BadInput(
            f"the nearest of {available} networks was asked for, with {candidates} candidates",
            "give at least one training network (two to compare them with one another) and one candidate",
        )
    damaged = torch.nonzero(~sound_networks(references))[:, 0].tolist()
    if damaged:
        raise BadInput(f"training network {damaged[0]} is not finite", "leave out networks that training blew up")


def _refined(
    distance: NetworkDistance, networks: Weights, references: Weights, wanted: Bool[Tensor, "network reference"]
) -> Float[Tensor, "network reference"]:
    """The distances of the wanted pairs, infinite elsewhere."""
    result = torch.full(wanted.shape, torch.inf)
    for position in torch.nonzero(wanted.any(dim=0))[:, 0].tolist():
        rows = torch.nonzero(wanted[:, position])[:, 0]
        result[rows, position] = distance.between(networks[rows.tolist()], references[position])[:, 0].float()
    return result
