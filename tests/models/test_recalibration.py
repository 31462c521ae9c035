"""Running statistics measured anew are those of the network's own activations on the training images."""

from __future__ import annotations

import torch
from torch import nn

from weightsmith.datasets import Split
from weightsmith.ensemble import recalibrated
from weightsmith.layout import Weights


def images(count: int) -> Split:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(count, 2, 5, 6, generator=rng) * 3 + 1
    return Split(values, torch.zeros(count, dtype=torch.int64))


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 4))


def test_statistics_are_those_of_the_activations() -> None:
    modules, split = [network(0), network(1)], images(1000)
    found = recalibrated(modules[0], Weights.of(*modules), split).states()
    for module, state in zip(modules, found, strict=True):
        activations = module[0](split.images)
        torch.testing.assert_close(state["1.running_mean"], activations.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(state["1.running_var"], activations.var(dim=(0, 2, 3)), atol=1e-2, rtol=1e-2)
        assert state["1.num_batches_tracked"] == 2, "batches of 500"
        for name in ("0.weight", "1.weight", "4.bias"):
            assert torch.equal(state[name], module.state_dict()[name])


def test_only_as_many_images_as_asked_are_used_and_the_module_is_left_alone() -> None:
    module, split = network(3), images(700)
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    few = recalibrated(module, Weights.of(module), split, images=50)
    alone = recalibrated(module, Weights.of(module), Split(split.images[:50], split.labels[:50]))
    assert torch.equal(few.vectors, alone.vectors)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_networks_without_statistics_are_given_back() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    weights = Weights.of(module)
    assert recalibrated(module, weights, images(5)) is weights
