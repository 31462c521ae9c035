"""The encoder of units: codes move with the units, tell them apart, and depend on the weights."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.nn import functional as F

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint
from weightsmith.hypernetworks.encoding import UnitEncoder
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry

OPTIONS = {
    "mlp": {"hidden": [20, 12, 9]},
    "cnn": {"channels": [8, 12], "norm": "group", "hidden": 16},
    "residual": {"channels": [8, 12], "norm": "batch"},
    "vit": {"dim": 16, "depth": 2, "heads": 2, "pool": "token"},
    "mixer": {"dim": 16, "depth": 1, "token_hidden": 12},
    "separable": {"channels": [8, 12]},
    "axial": {"widths": [12, 8], "hidden": 16},
}
ARCHITECTURES = {name: Architecture(name, (1, 28, 28), 10, options) for name, options in OPTIONS.items()}


@cache
def graph_of(name: str) -> ParameterGraph:
    """Whatever the weights are."""
    return ParameterGraph.of(ARCHITECTURES[name].build(0), (1, 28, 28))


def encoder(rounds: int = 2) -> UnitEncoder:
    torch.manual_seed(0)
    return UnitEncoder(dim=48, rank=40, rounds=rounds)


@pytest.mark.parametrize("name", OPTIONS)
def test_codes_move_with_the_units(name: str) -> None:
    module = ARCHITECTURES[name].build(1)
    graph = graph_of(name)
    blueprint, symmetry, weights = Blueprint.of(graph), Symmetry.of_graph(graph), Weights.of(module)
    rng = torch.Generator().manual_seed(2)
    orders = {group.name: torch.randperm(group.units, generator=rng) for group in graph.permutations}
    before, after = (encoder()(blueprint, one.states()[0]) for one in (weights, symmetry.permute(weights, orders)))
    first, moved = 0, []
    for group in graph.permutations:
        moved.append(before[first + orders[group.name]])
        first += group.units
    torch.testing.assert_close(after, torch.cat(moved), atol=2e-3, rtol=0)
    assert (after - before).abs().max() > 0.1


@pytest.mark.parametrize("name", OPTIONS)
def test_units_of_a_random_init_are_told_apart(name: str) -> None:
    module = ARCHITECTURES[name].build(3)
    blueprint = Blueprint.of(graph_of(name))
    codes = encoder()(blueprint, module.state_dict())
    assert codes.shape == (blueprint.units, 48)
    for space in range(blueprint.spaces):
        members = codes[blueprint.space_of == space]
        if len(members) > 4:  # the centred codes of n units have cosines of -1 / (n - 1)
            cosines = F.normalize(members, dim=1) @ F.normalize(members, dim=1).T - torch.eye(len(members))
            assert cosines.abs().mean() < 0.25
            assert cosines.max() < 0.7
        torch.testing.assert_close(members.mean(0), torch.zeros(48), atol=1e-4, rtol=0)


def test_codes_follow_the_weights_and_each_round_looks_further() -> None:
    module = ARCHITECTURES["cnn"].build(1)
    blueprint = Blueprint.of(graph_of("cnn"))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    changed = state | {"11.weight": torch.randn_like(state["11.weight"])}  # the head
    first = blueprint.space_of == 0
    for rounds, moves in ((1, False), (3, True)):
        with torch.no_grad():
            one, other = (encoder(rounds)(blueprint, weights)[first] for weights in (state, changed))
        assert bool((one - other).abs().max() > 1e-3) == moves


def test_gradients_reach_every_parameter_and_the_weights() -> None:
    module = ARCHITECTURES["residual"].build(1)
    blueprint = Blueprint.of(graph_of("residual"))
    state = {
        name: value.detach().requires_grad_(value.is_floating_point()) for name, value in module.state_dict().items()
    }
    network = encoder()
    codes = network(blueprint, state)
    (codes * torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    for plan in blueprint.tensors:
        if any(axis.units for axis in plan.axes):
            assert bool((state[plan.names[0]].grad != 0).any()), plan.names


def test_weights_that_do_not_fit_are_named() -> None:
    module = ARCHITECTURES["mlp"].build(0)
    blueprint, state = Blueprint.of(graph_of("mlp")), module.state_dict()
    with pytest.raises(BadInput, match=r"'fc2\.weight' is missing"):
        encoder()(blueprint, {name: value for name, value in state.items() if name != "fc2.weight"})
    with pytest.raises(BadInput, match=r"'fc2\.weight' is \[12, 21\], not \[12, 20\]"):
        encoder()(blueprint, state | {"fc2.weight": torch.zeros(12, 21)})
