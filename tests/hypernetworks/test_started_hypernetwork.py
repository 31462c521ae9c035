"""A hypernetwork that begins at given weights: it moves with their units, keeps its share, and depends on them."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.generators.universal import StartedGenerator, make_started
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry

FORMS = {
    "mlp": Architecture("mlp", (1, 6, 5), 4, {"hidden": [11, 7], "norm": "layer"}),
    "cnn": Architecture("cnn", (2, 9, 8), 4, {"channels": [4, 8], "groups": 2, "norm": "group", "hidden": 5}),
    "residual": Architecture("residual", (1, 9, 8), 4, {"channels": [8, 12], "norm": "batch"}),
    "target_cnn": Architecture("target_cnn", (1, 8, 12), 4, {"channels1": 6, "channels2": 5, "hidden": 7}),
}


@cache
def generator(share: float = 0.5) -> StartedGenerator:
    return make_started(3, HypernetworkSizes(noise=16, dim=12, rank=7, depth=1, heads=3, start_share=share))


@cache
def case(name: str) -> tuple[nn.Module, ParameterGraph, Blueprint]:
    module = FORMS[name].build(1).eval()
    graph = ParameterGraph.of(module, FORMS[name].input_shape)
    return module, graph, Blueprint.of(graph)


def begun(name: str, seed: int) -> dict[str, Tensor]:
    return dict(FORMS[name].build(seed).state_dict())


def written(name: str, start: dict[str, Tensor], share: float = 0.5) -> dict[str, Tensor]:
    with torch.no_grad():
        return generator(share).from_start(case(name)[2], start, torch.Generator())


@pytest.mark.parametrize("name", FORMS)
def test_a_permuted_start_gives_the_permuted_network(name: str) -> None:
    module, graph, _ = case(name)
    symmetry, weights, rng = Symmetry.of_graph(graph), Weights.of(module), torch.Generator().manual_seed(2)
    orders = {group.name: torch.randperm(group.units, generator=rng).roll(1) for group in graph.permutations}
    start = weights.states()[0]
    out = {**start, **written(name, start)}
    expected = symmetry.permute(weights.layout.flatten([out]), orders).states()[0]
    found = written(name, symmetry.permute(weights, orders).states()[0])
    for tensor, value in found.items():
        largest = float(value.abs().max())
        torch.testing.assert_close(value, expected[tensor], rtol=1e-2, atol=5e-3 * largest)
    assert any((expected[tensor] - out[tensor]).abs().max() > 0.1 * out[tensor].abs().max() for tensor in found)


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_the_start_has_its_share_of_every_matrix_and_none_of_vectors(name: str) -> None:
    _, _, blueprint = case(name)
    start, network = begun(name, 4), generator(0.6).network
    bare = network.body(blueprint, network.encoder(blueprint, start))
    out = written(name, start, 0.6)
    for plan in blueprint.tensors:
        tensor = plan.names[0]
        if len(plan.shape) > 1:
            scale = bare[tensor].square().mean().sqrt()
            direction = start[tensor] / start[tensor].square().mean().sqrt()
            torch.testing.assert_close(out[tensor], 0.8 * bare[tensor] + 0.6 * scale * direction)
        else:
            torch.testing.assert_close(out[tensor], bare[tensor])


def cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten(), other.flatten(), 0))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_large_matrix_correlates_with_its_start_as_stated(share: float) -> None:
    """`cos(W, start) = (sqrt(1 - s^2) c + s) / sqrt(1 + 2 s sqrt(1 - s^2) c)`, c the cosine of H and the start."""
    start = begun("target_cnn", 5)
    cosines = [cosine(written("target_cnn", start, each)["fc1.weight"], start["fc1.weight"]) for each in (0.0, share)]
    other = math.sqrt(1 - share**2)
    expected = (other * cosines[0] + share) / math.sqrt(1 + 2 * share * other * cosines[0])
    assert cosines[1] == pytest.approx(expected, abs=1e-4)
    assert cosines[1] == pytest.approx(share, abs=0.25)


def test_networks_follow_from_their_start_alone_and_differ() -> None:
    one, again, other = (written("cnn", begun("cnn", seed)) for seed in (1, 1, 2))
    for tensor, value in one.items():
        assert torch.equal(value, again[tensor])
        if value.ndim > 1:
            assert (value - other[tensor]).norm() > 0.5 * value.norm()
    bare = [written("cnn", begun("cnn", seed), 0.0) for seed in (1, 2)]
    equal = [name for name in one if torch.allclose(bare[0][name], bare[1][name])]
    assert len(equal) <= 1, "codes depend on it, too, and all but the bias of the head on codes"


def test_gradients_reach_the_encoder_and_the_body() -> None:
    network = make_started(0, HypernetworkSizes(noise=16, dim=12, rank=7, depth=1, heads=3, start_share=0.5)).network
    out = network(case("residual")[2], begun("residual", 1))
    rng = torch.Generator().manual_seed(0)
    torch.stack([(value * torch.randn(value.shape, generator=rng)).sum() for value in out.values()]).sum().backward()
    for part in ("encoder", "body"):
        grads = [p.grad for name, p in network.named_parameters() if name.startswith(part)]
        assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
        assert all(bool((grad != 0).any()) for grad in grads if grad is not None and grad.ndim > 2)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e-30])
def test_a_constant_start_gives_finite_weights_and_gradients(value: float) -> None:
    network = generator().network
    start = {name: torch.full_like(tensor, value) for name, tensor in begun("target_cnn", 0).items()}
    out = network(case("target_cnn")[2], start)
    assert all(bool(tensor.isfinite().all()) for tensor in out.values())
    torch.stack([tensor.square().sum() for tensor in out.values()]).sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())
    network.zero_grad()


def test_a_start_of_another_form_is_named() -> None:
    start = begun("mlp", 0)
    with pytest.raises(BadInput, match=r"tensor 'fc2\.weight' is missing"):
        written("mlp", {name: value for name, value in start.items() if name != "fc2.weight"})
    with pytest.raises(BadInput, match=r"'fc2\.weight' is \[7, 12\], not \[7, 11\]"):
        written("mlp", start | {"fc2.weight": torch.zeros(7, 12)})
