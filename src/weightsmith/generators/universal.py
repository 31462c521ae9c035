"""The universal generators: networks of any architecture in one pass of a hypernetwork, from noise or from a start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weightsmith.hypernetworks import Blueprint, Hypernetwork, HypernetworkSizes
from weightsmith.hypernetworks.context import blurred
from weightsmith.hypernetworks.network import Drawn
from weightsmith.hypernetworks.started import StartedHypernetwork


class UniversalGenerator:
    """`w = H(graph, noise)`: one pass, no likelihood."""

    name = "universal"
    has_likelihood = False

    def __init__(self, network: Hypernetwork) -> None:
        self.network = network

    def weights(self, blueprint: Blueprint, rng: torch.Generator, blur: float = 0.0) -> dict[str, Tensor]:
        """One network's tensors by name, differentiable in the hypernetwork; `blur` as in `blurred`, for training."""
        return self.written(blueprint, self.drawn(blueprint, rng, blur))

    def drawn(self, blueprint: Blueprint, rng: torch.Generator, blur: float = 0.0) -> Drawn:
        """All that is random of a network: what is drawn with a CPU's `rng` is the same on every device."""
        units, groups = self.network.normal(blueprint, rng)
        features = blueprint.on(self.network.device).features
        told = blurred(features, blur, rng) if blur else features
        return Drawn(units, groups, told, self.network.entries(blueprint, rng))

    def written(self, blueprint: Blueprint, drawn: Drawn) -> dict[str, Tensor]:
        """The network that follows from what was drawn; no more is random."""
        noise = self.network.mixed(blueprint, drawn.units, drawn.groups)
        written = self.network(blueprint, noise, drawn.features)
        return blueprint.stored(self.network.with_entries(blueprint, written, drawn.entries))


class StartedGenerator:
    """`w = H(graph, start)`: one pass from given weights, deterministic, no likelihood."""

    name = "started"
    has_likelihood = False

    def __init__(self, network: StartedHypernetwork) -> None:
        self.network = network

    def from_start(self, blueprint: Blueprint, start: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
        """One network's tensors by name; `rng` is not used: all that decides is in the start."""
        return blueprint.stored(self.network(blueprint, blueprint.read(start)))


def make_universal(seed: int, sizes: HypernetworkSizes | None = None) -> UniversalGenerator:
    """A generator at its start; `seed` gives its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UniversalGenerator(Hypernetwork(sizes or HypernetworkSizes()))


def make_started(seed: int, sizes: HypernetworkSizes) -> StartedGenerator:
    """The same for a generator that begins at given weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StartedGenerator(StartedHypernetwork(sizes))
