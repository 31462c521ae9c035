from __future__ import annotations

import pytest
import torch
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry, fold_inactive_inputs

SMALL_CNN = Architecture("target_cnn", (2, 12, 8), 5, {"channels1": 3, "channels2": 7, "hidden": 6})
MLP = Architecture("mlp", (1, 3, 5), 4, {"hidden": [8, 6]})
NO_BIAS = nn.Sequential(nn.Flatten(), nn.Linear(15, 9, bias=False), nn.ReLU(), nn.Linear(9, 4))
CHAINS = [SMALL_CNN.build(0), MLP.build(0), NO_BIAS]


def symmetry_of(module: nn.Module) -> Symmetry:
    found = Symmetry.of(module)
    assert found is not None
    return found


def images_for(module: nn.Module) -> torch.Tensor:
    shape = (2, 12, 8) if isinstance(next(iter(module.children())), nn.Conv2d) else (1, 3, 5)
    return torch.randn(11, *shape, generator=torch.Generator().manual_seed(0))


def outputs(module: nn.Module, weights: Weights, images: torch.Tensor) -> torch.Tensor:
    return torch.func.functional_call(module, weights.states()[0], (images,))


def scrambled(module: nn.Module, weights: Weights, seed: int, scale: bool) -> Weights:
    """Random unit permutations (and ReLU scales) of a network, written here a second time and independently."""
    rng = torch.Generator().manual_seed(seed)
    state = weights.states()[0]
    for group in symmetry_of(module).groups:
        order = torch.randperm(group.units, generator=rng)
        factor = torch.rand(group.units, generator=rng) * 3 + 0.2
        factor = factor if scale else torch.ones(group.units)
        producer, consumer = state[group.producer][order], state[group.consumer]
        state[group.producer] = producer * factor.view(-1, *[1] * (producer.ndim - 1))
        if group.bias is not None:
            state[group.bias] = state[group.bias][order] * factor
        width = consumer.shape[1] // group.units
        columns = [c for unit in order.tolist() for c in range(unit * width, (unit + 1) * width)]
        divisor = factor.repeat_interleave(width).view(1, -1, *[1] * (consumer.ndim - 2))
        state[group.consumer] = consumer[:, columns] / divisor
    return weights.layout.flatten([state])


@pytest.mark.parametrize("module", CHAINS)
def test_scrambling_keeps_the_function(module: nn.Module) -> None:
    weights, images = Weights.of(module), images_for(module)
    other = scrambled(module, weights, 1, scale=True)
    assert not torch.equal(other.vectors, weights.vectors)
    torch.testing.assert_close(outputs(module, other, images), outputs(module, weights, images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("module", CHAINS)
def test_balancing_keeps_the_function_and_shrinks_the_weights(module: nn.Module) -> None:
    weights, images = Weights.of(module), images_for(module)
    balanced = symmetry_of(module).balance(weights)
    torch.testing.assert_close(
        outputs(module, balanced, images), outputs(module, weights, images), atol=1e-5, rtol=1e-4
    )
    assert balanced.vectors.norm() < weights.vectors.norm()


@pytest.mark.parametrize("module", CHAINS)
def test_balancing_undoes_any_scale(module: nn.Module) -> None:
    symmetry, weights = symmetry_of(module), Weights.of(module)
    order_kept = scrambled(module, weights, 2, scale=True)
    permuted_only = scrambled(module, weights, 2, scale=False)
    torch.testing.assert_close(
        symmetry.balance(order_kept).vectors, symmetry.balance(permuted_only).vectors, atol=1e-5, rtol=1e-4
    )


def test_balanced_units_have_equal_incoming_and_outgoing_norms() -> None:
    module = MLP.build(3)
    tensors = symmetry_of(module).balance(Weights.of(module)).states()[0]
    incoming = torch.cat([tensors["fc1.weight"], tensors["fc1.bias"][:, None]], dim=1).norm(dim=1)
    torch.testing.assert_close(incoming, tensors["fc2.weight"].norm(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("module", CHAINS)
def test_aligning_recovers_a_permuted_copy(module: nn.Module) -> None:
    weights = Weights.of(module)
    aligned = symmetry_of(module).align(scrambled(module, weights, 5, scale=False), weights)
    assert torch.equal(aligned.vectors, weights.vectors)


def test_aligning_a_batch_keeps_functions_and_never_grows_the_distance() -> None:
    module, images = SMALL_CNN.build(0), images_for(SMALL_CNN.build(0))
    symmetry, reference = symmetry_of(module), Weights.of(module)
    others = Weights.of(*[SMALL_CNN.build(seed) for seed in (1, 2, 3)])
    aligned = symmetry.align(others, reference)
    for before, after in zip(others, aligned, strict=True):
        torch.testing.assert_close(
            outputs(module, after, images), outputs(module, before, images), atol=1e-5, rtol=1e-4
        )
        assert (after.vectors - reference.vectors).norm() < (before.vectors - reference.vectors).norm()


def test_dead_units_keep_their_scale() -> None:
    module = MLP.build(0)
    with torch.no_grad():
        module.fc1.weight[2] = 0
        module.fc1.bias[2] = 0
    balanced = symmetry_of(module).balance(Weights.of(module))
    assert bool(balanced.finite().all())


def test_folding_inactive_inputs_keeps_the_function() -> None:
    module, images = MLP.build(0), images_for(MLP.build(0))
    active = torch.ones(1, 3, 5, dtype=torch.bool)
    active[0, 1, :3] = False
    values = torch.full((1, 3, 5), -0.4)
    images[:, ~active] = values[~active]
    weights = Weights.of(module)
    folded = fold_inactive_inputs(weights, symmetry_of(module), active, values)
    torch.testing.assert_close(outputs(module, folded, images), outputs(module, weights, images), atol=1e-6, rtol=1e-5)
    assert (folded.states()[0]["fc1.weight"][:, ~active.flatten()] == 0).all()
    other = weights.states()[0]
    other["fc1.weight"] = other["fc1.weight"].clone()
    other["fc1.weight"][:, 5] += 1.0  # an inactive input: only its constant value counts
    other["fc1.bias"] = other["fc1.bias"] + 0.4
    same = fold_inactive_inputs(weights.layout.flatten([other]), symmetry_of(module), active, values)
    torch.testing.assert_close(same.vectors, folded.vectors, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(3, 2),
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 3)),
        nn.Sequential(nn.Linear(3, 3), nn.Softmax(dim=1), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)),
        nn.Sequential(nn.Flatten()),
    ],
)
def test_what_is_not_understood_has_no_symmetry(module: nn.Module) -> None:
    assert Symmetry.of(module) is None


def test_only_homogeneous_activations_are_scaled() -> None:
    found = symmetry_of(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert [(group.units, group.scalable) for group in found.groups] == [(4, False), (5, True)]


def test_an_empty_batch_is_its_own_balance() -> None:
    weights = Weights.of(MLP.build(0))[:0]
    assert len(symmetry_of(MLP.build(0)).balance(weights)) == 0


class Unlike(nn.Sequential):
    """A Sequential that computes something else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x.sum()


def test_a_chain_that_is_none_has_no_symmetry() -> None:
    shared = nn.Linear(3, 3)
    assert Symmetry.of(Unlike(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))) is None
    assert Symmetry.of(nn.Sequential(shared, nn.ReLU(), shared)) is None


def test_an_activation_that_stands_twice_counts_twice() -> None:
    tanh = nn.Tanh()
    found = symmetry_of(nn.Sequential(nn.Linear(3, 4), tanh, nn.Linear(4, 5), tanh, nn.Linear(5, 2)))
    assert [group.scalable for group in found.groups] == [False, False]
