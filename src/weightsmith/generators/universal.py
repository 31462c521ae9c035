"""The universal generator: networks of any architecture from noise, in one pass of a hypernetwork."""

from __future__ import annotations

import torch
from torch import Tensor

from weightsmith.hypernetworks import Blueprint, Hypernetwork, HypernetworkSizes


class UniversalGenerator:
    """`w = H(graph, noise)`: one pass, no likelihood."""

    has_likelihood = False

    def __init__(self, network: Hypernetwork) -> None:
        self.network = network

    def weights(self, blueprint: Blueprint, rng: torch.Generator) -> dict[str, Tensor]:
        """One network's tensors by name, differentiable in the hypernetwork."""
        found: dict[str, Tensor] = self.network(blueprint, self.network.draw(blueprint, rng))
        return found


def make_universal(seed: int, sizes: HypernetworkSizes | None = None) -> UniversalGenerator:
    """A generator at its start; `seed` gives its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UniversalGenerator(Hypernetwork(sizes or HypernetworkSizes()))
