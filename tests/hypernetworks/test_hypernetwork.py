"""Laws of the hypernetwork: equivariance, every tensor written, sizes of weights, noise, and where it computes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import cache

import pytest
import torch
from elsewhere import ELSEWHERE, elsewhere, on_cpu
from symmetric_networks import NETWORKS, inputs, network
from torch import Tensor, nn
from torch.func import functional_call

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import SPLITS, draw
from weightsmith.generators.universal import UniversalGenerator, make_universal
from weightsmith.graph import ParameterGraph
from weightsmith.graph.groups import Group
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.hypernetworks.gains import MOST, gains
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.objectives.task import TaskLoss

SIZES = HypernetworkSizes(noise=5, dim=12, rank=7, depth=2, heads=3)
FAMILIES = {
    "mlp family": Architecture("mlp", (1, 6, 5), 4, {"hidden": [7, 5], "norm": "layer"}),
    "cnn family": Architecture("cnn", (2, 9, 8), 4, {"channels": [4, 8], "groups": 2, "norm": "group", "hidden": 5}),
    "residual family": Architecture(
        "residual", (1, 9, 8), 4, {"channels": [8, 16], "bottleneck": True, "group_width": 2, "norm": "batch"}
    ),
    "vit family": Architecture("vit", (1, 8, 12), 4, {"patch": 4, "dim": 8, "heads": 2, "pool": "token"}),
    "hybrid family": Architecture(
        "hybrid", (1, 9, 13), 4, {"width": 8, "blocks": ["rows", "attention", "depthwise", "columns"], "hidden": 5}
    ),
    "tokens family": Architecture(
        "tokens", (1, 8, 12), 4, {"blocks": ["perceptron", "latents", "attention"], "dim": 6, "hidden": 5, "heads": 2}
    ),
    "axial family": Architecture("axial", (1, 7, 6), 4, {"widths": [5, 3], "hidden": 6}),
    "separable family": Architecture("separable", (1, 9, 8), 4, {"channels": [4, 6, 6], "residual": True}),
    "mixer family": Architecture("mixer", (1, 8, 12), 4, {"patch": 4, "dim": 8, "token_hidden": 5}),
}
CASES = [*FAMILIES, *(name for name in NETWORKS if name not in ("mlp", "cnn"))]


@cache
def case(name: str) -> tuple[nn.Module, Tensor, ParameterGraph, Blueprint]:
    if name in NETWORKS:
        module, images = network(name), inputs(name)
    else:
        module = FAMILIES[name].build(0).eval()
        images = torch.randn(6, *FAMILIES[name].input_shape, generator=torch.Generator().manual_seed(1))
    graph = ParameterGraph.of(module, images.shape[1:])
    return module, images, graph, Blueprint.of(graph)


@pytest.fixture(scope="module")
def generator() -> UniversalGenerator:
    """One whose modulations do something: at its start some of them are zero."""
    made = make_universal(3, SIZES)
    with torch.no_grad():
        for layer in (made.network.pairs.modulate_grid, made.network.pairs.gain):
            layer.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(4))
    return made


def permuted(weights: Mapping[str, Tensor], group: Group, order: Tensor) -> dict[str, Tensor]:
    """The same networks with the units of a group in another order, in every place that they lie in."""
    found = {name: value.clone() for name, value in weights.items()}
    for place in group.places:
        rows = found[place.tensor] if place.rows is None else found[place.tensor][slice(*place.rows)]
        index = torch.arange(rows.shape[place.axis])
        stretch = index.narrow(0, place.start, place.outer * place.units * place.inner)
        stretch.copy_(stretch.clone().view(place.outer, place.units, place.inner)[:, order].flatten())
        rows.copy_(rows.index_select(place.axis, index))
    return found


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_permuted_noise_gives_permuted_weights_of_the_same_function(name: str, generator: UniversalGenerator) -> None:
    module, images, graph, blueprint = case(name)
    statistics = {key: value.clone() for key, value in module.named_buffers()}
    rng = torch.Generator().manual_seed(2)
    noise = generator.network.mixed(blueprint, *generator.network.normal(blueprint, rng))
    weights = generator.network(blueprint, noise)
    outputs = functional_call(module, weights, (images,))
    assert outputs.std() > 0
    first = 0
    for group in graph.permutations:
        order = torch.randperm(group.units, generator=rng).roll(1)
        moved = noise.clone()
        moved[first : first + group.units] = noise[first : first + group.units][order]
        first += group.units
        found = generator.network(blueprint, moved)
        expected = permuted({**weights, **statistics}, group, order)
        for tensor, value in found.items():
            torch.testing.assert_close(value, expected[tensor], rtol=1e-3, atol=1e-4 * float(value.abs().max()))
        same = functional_call(module, {**expected, **found}, (images,))
        torch.testing.assert_close(same, outputs, rtol=1e-3, atol=1e-3 * float(outputs.abs().max()))
    assert first == blueprint.units


@pytest.mark.parametrize("name", [*FAMILIES, *SPLITS])
@torch.no_grad()
def test_every_parameter_of_every_family_is_written(name: str, generator: UniversalGenerator) -> None:
    if name in SPLITS:
        form = draw(name, 3, (1, 8, 8))
        module = form.build(0)
        blueprint = Blueprint.of(ParameterGraph.of(module, form.input_shape))
    else:
        module, _, _, blueprint = case(name)
    weights = generator.weights(blueprint, torch.Generator().manual_seed(5))
    assert not blueprint.untouched
    shapes = {key: tuple(value.shape) for key, value in module.named_parameters()}
    assert {key: tuple(value.shape) for key, value in weights.items()} == shapes
    assert all(bool(value.isfinite().all()) for value in weights.values())


@torch.no_grad()
def test_weights_have_the_size_of_their_fan_in_at_the_start() -> None:
    module, _, _, blueprint = case("residual family")
    weights = make_universal(1, SIZES).weights(blueprint, torch.Generator().manual_seed(0))
    for name, parameter in module.named_parameters():
        value = weights[name] - 1 if ".weight" in name and parameter.ndim == 1 else weights[name]
        fan_in = parameter[0].numel() if parameter.ndim > 1 else None
        wanted = 0.1 if fan_in is None else 1 / math.sqrt(fan_in)
        assert float(value.square().mean().sqrt()) == pytest.approx(wanted, rel=1e-3), name


@torch.no_grad()
def test_noise_is_centred_and_scaled_a_layer_so_that_its_size_does_not_matter(generator: UniversalGenerator) -> None:
    blueprint = case("mlp family")[3]
    noise = generator.network.mixed(blueprint, *generator.network.normal(blueprint, torch.Generator().manual_seed(0)))
    weights, scaled = (generator.network(blueprint, value) for value in (noise, 40 * noise + 7))
    for name, value in weights.items():
        torch.testing.assert_close(scaled[name], value, rtol=1e-2, atol=1e-3 * float(value.abs().max()))


@torch.no_grad()
def test_another_seed_is_another_network_and_the_same_one_the_same(generator: UniversalGenerator) -> None:
    blueprint = case("cnn family")[3]
    one, again, other = (generator.weights(blueprint, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    of_units = [name for plan in blueprint.tensors for name in plan.names if any(axis.units for axis in plan.axes)]
    assert len(of_units) >= len(one) - 1, "all but the bias of the head"
    assert not any(torch.equal(one[name], other[name]) for name in of_units)


@torch.no_grad()
def test_a_network_without_units_is_written_too(generator: UniversalGenerator) -> None:
    blueprint = Blueprint.of(ParameterGraph.of(nn.Linear(4, 3), (4,)))
    weights = generator.weights(blueprint, torch.Generator().manual_seed(0))
    assert {name: value.shape for name, value in weights.items()} == {"weight": (3, 4), "bias": (3,)}


def test_nothing_stays_on_the_cpu_where_the_hypernetwork_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    pool = ArchitecturePool(("training", "held_out_family"), 2, input_shape=(1, 8, 8))
    for number in range(len(pool)):
        _ = pool[number]  # traced before, as it is on the CPU
    rng = torch.Generator().manual_seed(0)
    batch = {"images": torch.randn(32, 1, 8, 8, generator=rng), "labels": torch.arange(32) % 10}

    def gradients(device: torch.device) -> list[Tensor]:
        made = make_universal(0, SIZES)
        made.network.to(device)
        on_device = {name: value.to(device) for name, value in batch.items()}
        loss = TaskLoss(pool, 2)(made, on_device, torch.Generator().manual_seed(1)).loss
        assert loss.device == device
        loss.backward(torch.ones(()).to(device))
        return [on_cpu(parameter.grad) for parameter in made.network.parameters() if parameter.grad is not None]

    expected = gradients(torch.device("cpu"))
    with elsewhere():
        found = gradients(ELSEWHERE)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.ones(2).to(ELSEWHERE) + torch.ones(2)
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_gains_are_exponentials_between_bounds() -> None:
    torch.testing.assert_close(gains(torch.tensor([0.0, 0.01, 99.0])), torch.tensor([1.0, math.exp(0.01), MOST]))
    logarithms = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(gains(logarithms) * gains(-logarithms), torch.ones(7))
    assert bool((gains(logarithms).diff() > 0).all())
