"""Small networks that the audit is tested on, and copies of them that look different."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset, Split
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.layout import Weights

MLP = Architecture("mlp", (1, 3, 5), 4, {"hidden": [8, 6]})
CNN = Architecture("target_cnn", (1, 8, 12), 3, {"channels1": 4, "channels2": 5, "hidden": 7})


def networks(architecture: Architecture, seeds: Sequence[int]) -> Weights:
    return Weights.of(*[architecture.build(seed) for seed in seeds])


def distance_for(architecture: Architecture) -> NetworkDistance:
    images = torch.randn(9, *architecture.input_shape, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(9, dtype=torch.int64))
    active = torch.ones(architecture.input_shape, dtype=torch.bool)
    data = Dataset("made up", split, split, split, 4, architecture.input_shape, "f", "a test", active)
    return NetworkDistance.of(architecture.build(0), data)


def disguised(architecture: Architecture, weights: Weights, seed: int) -> Weights:
    """The same functions: the units of every hidden layer permuted and rescaled at random."""
    rng = torch.Generator().manual_seed(seed)
    modules = architecture.build(0).named_modules()
    names = [name for name, child in modules if isinstance(child, nn.Linear | nn.Conv2d)]
    states = weights.states()
    for state in states:
        for before, after in pairwise(names):
            rows, columns = state[f"{before}.weight"], state[f"{after}.weight"]
            order, scale = torch.randperm(len(rows), generator=rng), torch.rand(len(rows), generator=rng) * 3 + 0.2
            state[f"{before}.weight"] = rows[order] * scale.view(-1, *[1] * (rows.ndim - 1))
            state[f"{before}.bias"] = state[f"{before}.bias"][order] * scale
            blocks = columns.reshape(len(columns), len(rows), -1)[:, order] / scale[:, None]
            state[f"{after}.weight"] = blocks.reshape(columns.shape)
    return weights.layout.flatten(states)


def outputs(architecture: Architecture, weights: Weights, images: torch.Tensor) -> torch.Tensor:
    module = architecture.build(0)
    return torch.stack([torch.func.functional_call(module, state, (images,)) for state in weights.states()])
