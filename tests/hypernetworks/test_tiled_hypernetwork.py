"""The tiled baseline: tiles are repeated and cut as is known, fixed places are cosines, nothing is drawn."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from weightsmith.architectures import Architecture
from weightsmith.generators.tiled import make_tiled
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint
from weightsmith.hypernetworks.tiled import TiledSizes, spread, used

SMALL = TiledSizes(dim=16, depth=2, heads=2, hidden=12, tile=8)
OPTIONS = {
    "mlp": {"hidden": [20, 11]},
    "cnn": {"channels": [4, 12], "groups": 2, "hidden": 6},
    "residual": {"channels": [8, 12]},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "pool": "token"},
    "mixer": {"dim": 16, "depth": 1},
    "separable": {"channels": [8, 12]},
    "axial": {"widths": [12, 8], "hidden": 16},
}


@cache
def blueprint(name: str) -> Blueprint:
    module = Architecture(name, (1, 28, 28), 10, OPTIONS[name]).build(0)
    return Blueprint.of(ParameterGraph.of(module, (1, 28, 28)))


def plan_of(found: Blueprint, tensor: str):  # type: ignore[no-untyped-def]
    return next(plan for plan in found.tensors if tensor in plan.names)


def test_a_tile_is_repeated_where_a_layer_is_wide_and_cut_where_it_is_narrow() -> None:
    plan = plan_of(blueprint("mlp"), "fc2.weight")  # 11 x 20
    tile = torch.arange(64.0).reshape(8, 8)
    assert used(plan, 8) == (8, 8)
    assert used(plan, 64) == (11, 20)
    expected = torch.tensor([[8 * (i % 8) + j % 8 for j in range(20)] for i in range(11)])
    assert torch.equal(spread(plan, tile, 8).long(), expected)


def test_a_flattened_axis_reads_the_unit_and_the_place_of_every_column() -> None:
    plan = plan_of(blueprint("cnn"), "9.weight")  # 6 x (12 channels x 7 x 7)
    tile = torch.arange(6 * 8 * 49.0).reshape(6, 8, 49)
    found = spread(plan, tile, 8)
    for row, channel, place in ((0, 0, 0), (5, 3, 48), (2, 9, 17)):
        assert found[row, channel * 49 + place] == tile[row, channel % 8, place]


def test_taps_are_in_the_cosine_basis() -> None:
    network, plan = make_tiled(0, SMALL).network, plan_of(blueprint("cnn"), "0.weight")
    tile = network.tiles._tile(plan, torch.randn(16, generator=torch.Generator().manual_seed(1)))
    assert tile.shape == (4, 1, 9)
    # Of the lowest frequency along the rows, cos 0, and its next, cos(pi (y + 1/2) / 3): all nine are orthogonal.
    y = torch.cos(math.pi * (torch.arange(3) + 0.5) / 3)[:, None].expand(3, 3).reshape(9)
    with torch.no_grad():
        network.tiles.frequencies.zero_()
        network.tiles.frequencies[0:2, 0, 12, 0] = 50.0  # the first along y, none along x
        network.tiles.body[2].weight.zero_()
        network.tiles.body[2].bias.fill_(-100.0)
        network.tiles.body[2].bias[0] = 0.0
    (row, *_) = network.tiles._tile(plan, torch.zeros(16)).detach()[:, 0]
    torch.testing.assert_close(row / row[0], y / y[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_all_families_are_written_the_same_each_time(name: str) -> None:
    found, generator = blueprint(name), make_tiled(0, SMALL)
    first, second = (generator.weights(found, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for plan in found.tensors:
        for tensor in plan.names:
            assert tuple(first[tensor].shape) == plan.shape
            assert torch.equal(first[tensor], second[tensor])
            spread_of = (first[tensor] - plan.base).square().mean().sqrt()
            assert float(spread_of) == pytest.approx(plan.scale, rel=1e-3)
    sum(value.square().sum() for value in first.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in generator.network.parameters())


def test_wide_layers_hold_copies_and_other_seeds_give_other_networks() -> None:
    found = blueprint("mlp")
    written = make_tiled(0, SMALL).weights(found, torch.Generator())["fc1.weight"]
    assert torch.equal(written[:8], written[8:16])
    other = make_tiled(1, SMALL).weights(found, torch.Generator())["fc1.weight"]
    assert not torch.allclose(written, other)
