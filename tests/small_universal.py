"""A universal synthesizer of a few numbers, for digits of 8x8 pixels: untrained, and as quick as can be."""

from __future__ import annotations

import torch
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest, load_dataset
from weightsmith.generators.universal import make_started, make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import Prepared
from weightsmith.universal import Coverage, UniversalSynthesizer

SHAPE = (1, 8, 8)
DIGITS = DatasetRequest("digits", image_size=8)
TRAINED_ON = (
    Architecture("mlp", SHAPE, 10, {"hidden": [12]}),
    Architecture("mlp", SHAPE, 10, {"hidden": [11, 9]}),
    Architecture("cnn", SHAPE, 10, {"channels": [5], "norm": "batch", "head_kind": "average", "hidden": 0}),
)


def small_covers() -> Coverage:
    return Coverage.of([Prepared.of(form).extent for form in TRAINED_ON], DIGITS, load_dataset(DIGITS))


def small_started(share: float = 0.5) -> UniversalSynthesizer:
    """The same, which begins at given weights."""
    sizes = HypernetworkSizes(noise=12, dim=8, rank=5, depth=1, heads=2, start_share=share)
    return UniversalSynthesizer(make_started(0, sizes), small_covers(), {"made by": "a test"})


def small_universal(sizes: HypernetworkSizes | None = None) -> UniversalSynthesizer:
    made = make_universal(0, sizes or HypernetworkSizes(noise=3, dim=8, rank=5, depth=1, heads=2))
    return UniversalSynthesizer(made, small_covers(), {"made by": "a test"})


class Perceptron(nn.Module):
    """Inside the trained range: 64-11-10."""

    def __init__(self, hidden: int = 11, classes: int = 10) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, hidden), nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x.flatten(1))))


class Flat(Perceptron):
    """The same, of images that are vectors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.one, self.two, self.leave = (nn.Linear(a, b) for a, b in ((64, 9), (9, 9), (9, 9), (9, 10)))
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.enter, self.one, self.two):
            x = torch.relu(layer(x.flatten(1)))
        return self.leave(x)


class Normalised(nn.Module):
    """A convolution, a batch norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.norm, self.head = nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.convolve(x))).mean((2, 3)))


class Cumulative(nn.Module):
    """Operations that are not understood, one with a tensor of its own, and tensors that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.first, self.last = nn.Linear(64, 9), nn.Linear(9, 11), nn.Linear(11, 10)
        self.shift = nn.Parameter(torch.full((11,), 0.5))
        self.unread = nn.Linear(2, 3)
        self.marks = nn.Parameter(torch.full((4,), 7.0))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(torch.relu(self.enter(x.flatten(1))))
        return self.last(torch.heaviside(hidden, self.shift.detach()) + hidden.cumsum(1))


class Undecided(Perceptron):
    """Branches that depend on data, in ways that no example shows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.last(torch.relu(self.first(x.flatten(1)))) if x.sum().item() < 3.7 else x.flatten(1)[:, :10]


class Branching(Perceptron):
    """A branch that depends on data, which a run on an example shows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(x.flatten(1)))
        return self.last(hidden if x.mean().item() < 50 else -hidden)
