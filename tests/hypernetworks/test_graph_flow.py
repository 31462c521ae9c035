"""The flow over weights of any architecture: equivariant, learns from a tiny zoo, and can be mixed with a task."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.generators.graph_flow import GraphFlowGenerator, make_graph_flow
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.hypernetworks.checkpoints import Checkpoints
from weightsmith.interfaces import LossRecord
from weightsmith.layout import Weights
from weightsmith.objectives.combined import Combined
from weightsmith.objectives.graph_matching import GraphMatching
from weightsmith.symmetry import Symmetry

SMALL = HypernetworkSizes(noise=16, dim=24, rank=12, depth=2, heads=2)
OPTIONS = {
    "mlp": {"hidden": [20, 12]},
    "cnn": {"channels": [8, 12], "groups": 2, "norm": "group", "hidden": 10},
    "residual": {"channels": [8, 12], "norm": "batch"},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "pool": "token"},
    "mixer": {"dim": 16, "depth": 1},
    "separable": {"channels": [8, 12]},
    "axial": {"widths": [12, 8], "hidden": 16},
}


@cache
def graph_of(name: str) -> ParameterGraph:
    """Whatever the weights are."""
    return ParameterGraph.of(Architecture(name, (1, 28, 28), 10, OPTIONS[name]).build(0), (1, 28, 28))


def flow(moved: bool = False) -> GraphFlowGenerator:
    generator = make_graph_flow(0, SMALL, steps=3)
    if moved:  # away from its start, where coefficients are the same for all tensors
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in generator.network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return generator


def tiny_zoo() -> Checkpoints:
    architectures = [
        Architecture("mlp", (1, 4, 4), 3, {"hidden": [6]}),
        Architecture("mlp", (1, 4, 4), 3, {"hidden": [5, 4]}),
        Architecture("cnn", (1, 8, 8), 3, {"channels": [4, 6], "hidden": 0}),
    ]
    return Checkpoints(architectures, [one.build(i).state_dict() for i, one in enumerate(architectures)])


@pytest.mark.parametrize("name", OPTIONS)
def test_the_velocity_moves_with_the_units(name: str) -> None:
    module = Architecture(name, (1, 28, 28), 10, OPTIONS[name]).build(1)
    graph = graph_of(name)
    blueprint, symmetry, weights = Blueprint.of(graph), Symmetry.of_graph(graph), Weights.of(module)
    rng, network = torch.Generator().manual_seed(2), flow(moved=True).network
    weights = weights.replace(weights.vectors + 0.2 * torch.randn(weights.vectors.shape, generator=rng))
    orders = {group.name: torch.randperm(group.units, generator=rng) for group in graph.permutations}

    def velocity(one: Weights) -> Weights:
        found = network(blueprint, network.state(blueprint, one.states()[0]), torch.tensor(0.6))
        return one.layout.flatten([one.states()[0] | network.weights(blueprint, found.detach())])

    one, other = symmetry.permute(velocity(weights), orders), velocity(symmetry.permute(weights, orders))
    torch.testing.assert_close(one.vectors, other.vectors, atol=3e-3, rtol=0)
    assert (one.vectors - velocity(weights).vectors).abs().max() > 0.01


@pytest.mark.parametrize("name", OPTIONS)
def test_samples_fit_the_architecture_and_follow_from_the_seed(name: str) -> None:
    module = Architecture(name, (1, 28, 28), 10, OPTIONS[name]).build(1)
    blueprint, generator = Blueprint.of(graph_of(name)), flow()
    with torch.no_grad():
        first, again, other = (generator.weights(blueprint, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    for plan in blueprint.tensors:
        for tensor in plan.names:
            assert tuple(first[tensor].shape) == plan.shape == tuple(module.state_dict()[tensor].shape)
            assert torch.equal(first[tensor], again[tensor])
            assert not torch.equal(first[tensor], other[tensor])


def test_weights_come_back_from_their_state_which_is_of_order_one() -> None:
    zoo, network = tiny_zoo(), flow().network
    network.fit((zoo.blueprint(i), zoo.weights[i]) for i in range(len(zoo)))
    squares = []
    for number, weights in enumerate(zoo.weights):
        state = network.state(zoo.blueprint(number), weights)
        squares.append(state.square().mean())
        for name, value in network.weights(zoo.blueprint(number), state).items():
            torch.testing.assert_close(value, weights[name])
    assert 0.6 < float(torch.stack(squares).mean()) < 1.6


def test_the_best_guess_that_looks_at_nothing_has_the_loss_that_is_known() -> None:
    """Data of variance one, and no word of the units: the loss at t is `1 / (t^2 + (1 - t)^2)`."""
    architecture = Architecture("mlp", (1, 28, 28), 10, {"hidden": [64]})
    blueprint, network = tiny_blueprint(architecture), flow().network
    torch.nn.init.zeros_(network.coefficients.bias)
    rng = torch.Generator().manual_seed(0)
    size = 784 * 64 + 64 + 640 + 10
    x0, noise = torch.randn(size, generator=rng), torch.randn(size, generator=rng)
    for t in (0.2, 0.5, 0.9):
        with torch.no_grad():
            said = network(blueprint, (1 - t) * x0 + t * noise, torch.tensor(t))
        assert float((said - (noise - x0)).square().mean()) == pytest.approx(1 / (t**2 + (1 - t) ** 2), rel=0.03)


def tiny_blueprint(architecture: Architecture) -> Blueprint:
    return Blueprint.of(ParameterGraph.of(architecture.build(0), architecture.input_shape))


def trained(objective: Any, batch: dict[str, Tensor], zoo: Checkpoints, updates: int) -> tuple[Any, Any]:
    """The loss, with the same noise, before and after some updates."""
    generator = make_graph_flow(0, HypernetworkSizes(noise=8, dim=16, rank=12, depth=1, heads=2))
    generator.network.fit((zoo.blueprint(i), zoo.weights[i]) for i in range(len(zoo)))
    optimizer = torch.optim.Adam(generator.network.parameters(), 1e-2)

    def measured() -> LossRecord:
        with torch.no_grad():
            return objective(generator, batch, torch.Generator().manual_seed(1000))

    before = measured()
    for update in range(updates):
        optimizer.zero_grad()
        objective(generator, batch, torch.Generator().manual_seed(update)).loss.backward()
        optimizer.step()
    return before, measured()


def test_a_tiny_zoo_is_learned() -> None:
    zoo = Checkpoints(tiny_zoo().architectures[:1], tiny_zoo().weights[:1])
    before, after = trained(GraphMatching(zoo), {"network": torch.zeros(4).long()}, zoo, 24)
    assert after.loss < 0.85 * before.loss, (before, after)


BLUEPRINT = tiny_blueprint(tiny_zoo().architectures[0])


def digits_like(generator: Any, batch: dict[str, Tensor], rng: torch.Generator) -> LossRecord:
    """A task for the first network of the zoo."""
    architecture = tiny_zoo().architectures[0]
    weights = generator.weights(BLUEPRINT, torch.Generator().manual_seed(int(rng.initial_seed()) % 2))
    logits = torch.func.functional_call(architecture.build(0), weights, (batch["images"],))
    return LossRecord(F.cross_entropy(logits, batch["labels"]), {})


def test_the_sum_weighs_its_parts_and_the_task_is_learned_through_samples() -> None:
    zoo, rng = Checkpoints(tiny_zoo().architectures[:1], tiny_zoo().weights[:1]), torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 4, 4, generator=rng)
    batch = {"images": images, "labels": images[:, 0, 0, :3].argmax(1)}
    before, after = trained(Combined(GraphMatching(zoo), digits_like, networks=1, weight=10.0), batch, zoo, 24)
    for record in (before, after):
        assert float(record.loss) == pytest.approx(record.parts["matching"] + 10 * record.parts["task"], rel=1e-5)
    assert after.parts["task"] < 0.9 * before.parts["task"], (before, after)


def test_checkpoints_without_their_architectures_are_refused() -> None:
    with pytest.raises(BadInput, match="1 architectures and 0 networks"):
        Checkpoints(tiny_zoo().architectures[:1], [])
