"""Hypernetworks without one of their parts: the part is gone, all else is as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from weightsmith.architectures import Architecture
from weightsmith.generators.universal import make_universal
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.hypernetworks.context import reads_averages
from weightsmith.hypernetworks.plans import carried

SMALL = HypernetworkSizes(noise=8, dim=16, rank=12, depth=2, heads=2)


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    module = Architecture("cnn", (1, 28, 28), 10, {"channels": [8, 12], "hidden": 6}).build(0)
    return Blueprint.of(ParameterGraph.of(module, (1, 28, 28)))


def written(blueprint: Blueprint, seed: int, **without: Any) -> dict[str, Tensor]:
    generator = make_universal(0, replace(SMALL, **without))
    return generator.weights(blueprint, torch.Generator().manual_seed(seed))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_noise_that_is_not_drawn_gives_one_network(blueprint: Blueprint) -> None:
    assert not same(written(blueprint, 0), written(blueprint, 1))
    assert same(written(blueprint, 0, fixed_share=1.0), written(blueprint, 1, fixed_share=1.0))


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_of_what_is_drawn_anew_a_matrix_has_its_share(blueprint: Blueprint, share: float) -> None:
    one, other = (written(blueprint, seed, fixed_share=1.0, start_share=share) for seed in (0, 1))
    alone = written(blueprint, 0, fixed_share=1.0)
    for plan, most in zip(blueprint.tensors, blueprint.carried, strict=True):
        name = plan.names[0]
        if not plan.starts:
            assert torch.equal(one[name], alone[name])
            continue
        own, scale = share * most, alone[name].square().mean().sqrt()
        drawn = [(value - (1 - own**2) ** 0.5 * alone[name]) / (own * scale) for value in (one[name], other[name])]
        for numbers in drawn:
            torch.testing.assert_close(numbers.square().mean(), torch.tensor(1.0), rtol=1e-3, atol=0)
        cosine = float((drawn[0] * drawn[1]).detach().mean())
        assert abs(cosine) < 5 / drawn[0].numel() ** 0.5


def test_the_more_inputs_and_the_fewer_matrices_the_more_is_carried(blueprint: Blueprint) -> None:
    plans = [plan for plan in blueprint.tensors if plan.starts]
    assert [plan.fan_in for plan in plans] == [9, 72, 588, 6]
    assert [carried(plan, 4, False) for plan in plans[1:3]] == [72**0.5 / 16, 1.0]
    assert [carried(plan, 64, False) for plan in plans[1:3]] == [72**0.5 / 64, 0.25]
    assert [carried(plan, 4, True) for plan in plans[1:3]] == [0.4 * 72**0.5 / 16, 1.0]
    assert blueprint.carried == tuple(carried(plan, 4, False) if plan.starts else 0.0 for plan in blueprint.tensors)


@pytest.mark.parametrize(("head", "averaged"), [("average", True), ("flatten", False), ("quarters", True)])
def test_linear_layers_behind_averages_are_known(head: str, averaged: bool) -> None:
    module = Architecture("cnn", (1, 28, 28), 10, {"channels": [8, 12], "head_kind": head}).build(0)
    assert reads_averages(Blueprint.of(ParameterGraph.of(module, (1, 28, 28))).features) == averaged


def test_only_by_attention_among_tensors_a_tensor_knows_of_another(blueprint: Blueprint) -> None:
    for context in (0, 2):
        network = make_universal(0, replace(SMALL, context=context)).network
        noise = network.mixed(blueprint, *network.normal(blueprint, torch.Generator().manual_seed(0)))
        other = blueprint.features.clone()
        other[-1] += 1
        first = [network.codes(blueprint, noise, features=one)[1][0] for one in (blueprint.features, other)]
        assert torch.equal(*first) == (context == 0)


def test_without_attention_a_layer_does_not_know_of_the_noise_of_another(blueprint: Blueprint) -> None:
    for attention in (True, False):
        network = make_universal(0, replace(SMALL, attention=attention)).network
        noise = network.mixed(blueprint, *network.normal(blueprint, torch.Generator().manual_seed(0)))
        other = torch.where(blueprint.space_of[:, None] == 0, noise, noise + torch.randn(noise.shape))
        first = [network.codes(blueprint, one)[0][blueprint.space_of == 0] for one in (noise, other)]
        assert torch.equal(*first) != attention


def test_codes_that_are_not_standardised_share_a_mean(blueprint: Blueprint) -> None:
    for standardised in (True, False):
        network = make_universal(0, replace(SMALL, standardised=standardised)).network
        codes, _ = network.codes(
            blueprint, network.mixed(blueprint, *network.normal(blueprint, torch.Generator().manual_seed(0)))
        )
        assert (float(codes[blueprint.space_of == 0].mean(0).abs().max()) < 1e-4) == standardised


def test_without_modulation_nothing_of_a_tensor_is_read_by_its_factors(blueprint: Blueprint) -> None:
    for modulated in (True, False):
        network = make_universal(0, replace(SMALL, modulated=modulated)).network
        units, tensors = network.codes(
            blueprint, network.mixed(blueprint, *network.normal(blueprint, torch.Generator().manual_seed(0)))
        )
        other = network.pairs(blueprint, units, tensors.roll(1, 0))
        assert same(network.pairs(blueprint, units, tensors), other) != modulated


@pytest.mark.parametrize("change", [{"attention": True}, {"context": 0}, {"standardised": False}, {"modulated": False}])
def test_all_parameters_that_are_left_are_trained(blueprint: Blueprint, change: dict[str, Any]) -> None:
    generator = make_universal(0, replace(SMALL, **change))
    found = generator.weights(blueprint, torch.Generator().manual_seed(0))
    sum((v * torch.randn(v.shape)).sum() for v in found.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in generator.network.parameters())
