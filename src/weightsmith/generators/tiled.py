"""The tiled baseline: one network an architecture, from a graph hypernetwork that repeats tiles."""

from __future__ import annotations

import torch
from torch import Tensor

from weightsmith.hypernetworks import Blueprint
from weightsmith.hypernetworks.tiled import TiledHypernetwork, TiledSizes


class TiledGenerator:
    """`w = H(graph)`: nothing is drawn, so all samples of one architecture are the same network."""

    has_likelihood = False

    def __init__(self, network: TiledHypernetwork) -> None:
        self.network = network

    def weights(self, blueprint: Blueprint, rng: torch.Generator) -> dict[str, Tensor]:
        """The network's tensors by name, differentiable in the hypernetwork; `rng` is not used."""
        return blueprint.stored(self.network(blueprint))


def make_tiled(seed: int, sizes: TiledSizes | None = None) -> TiledGenerator:
    """A generator at its start; `seed` gives its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TiledGenerator(TiledHypernetwork(sizes or TiledSizes()))
