from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from symmetric_networks import MLP, NETWORKS, SMALL_CNN, inputs, network
from torch import Tensor, nn

from weightsmith.errors import BadInput, LayoutMismatch
from weightsmith.graph import NotExportable
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry, fold_inactive_inputs

NAMES = list(NETWORKS)
SYMMETRIES = {name: Symmetry.of(network(name), shape) for name, (_, shape, _, _) in NETWORKS.items()}
SEEDS = st.integers(0, 2**31)


def outputs(name: str, weights: Weights) -> Tensor:
    """In float64, so that what is left is not rounding of what was done."""
    state = {key: value.double() if value.is_floating_point() else value for key, value in weights.states()[0].items()}
    module = network(name).double()
    module.load_state_dict(state)
    return module(inputs(name).double()).detach()


def assert_same_function(name: str, one: Weights, other: Weights) -> None:
    expected = outputs(name, one)
    torch.testing.assert_close(outputs(name, other), expected, atol=3e-6 * float(expected.abs().max()), rtol=0)


def orders_of(symmetry: Symmetry, seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {group.name: torch.randperm(group.units, generator=rng) for group in symmetry.permutations}


def factors_of(symmetry: Symmetry, seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.units, generator=rng) * 3 + 0.2 for group in symmetry.scales}


@pytest.mark.parametrize("name", NAMES)
def test_how_many_groups_there_are(name: str) -> None:
    symmetry = SYMMETRIES[name]
    assert (len(symmetry.permutations), len(symmetry.scales)) == NETWORKS[name][2:]
    assert symmetry.not_understood == ()


@pytest.mark.parametrize("name", NAMES)
def test_any_order_of_the_units_of_any_group_keeps_the_function(name: str) -> None:
    symmetry, weights = SYMMETRIES[name], Weights.of(network(name))
    for group in symmetry.permutations:
        moved = symmetry.permute(weights, {group.name: torch.arange(group.units).roll(1)})
        assert not torch.equal(moved.vectors, weights.vectors)
        assert_same_function(name, weights, moved)
    assert_same_function(name, weights, symmetry.permute(weights, orders_of(symmetry, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_any_scales_of_any_group_keep_the_function(name: str) -> None:
    symmetry, weights = SYMMETRIES[name], Weights.of(network(name))
    for group, factor in factors_of(symmetry, 1).items():
        scaled = symmetry.rescale(weights, {group: factor})
        assert not torch.equal(scaled.vectors, weights.vectors)
        assert_same_function(name, weights, scaled)
    assert_same_function(name, weights, symmetry.rescale(weights, factors_of(symmetry, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_balancing_keeps_the_function_and_shrinks_the_weights(name: str) -> None:
    symmetry, weights = SYMMETRIES[name], Weights.of(network(name))
    balanced = symmetry.balance(weights)
    assert_same_function(name, weights, balanced)
    assert balanced.vectors.norm() < weights.vectors.norm()


@pytest.mark.parametrize("name", NAMES)
def test_aligning_recovers_a_permuted_copy(name: str) -> None:
    symmetry, weights = SYMMETRIES[name], Weights.of(network(name))
    aligned = symmetry.align(symmetry.permute(weights, orders_of(symmetry, 5)), weights)
    assert torch.equal(aligned.vectors, weights.vectors)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), seed=SEEDS)
def test_balancing_undoes_any_scale_and_commutes_with_any_order(name: str, seed: int) -> None:
    symmetry, weights = SYMMETRIES[name], Weights.of(network(name, seed % 7))
    orders, factors = orders_of(symmetry, seed), factors_of(symmetry, seed)
    expected = symmetry.permute(symmetry.balance(weights), orders)
    found = symmetry.balance(symmetry.permute(symmetry.rescale(weights, factors), orders))
    torch.testing.assert_close(found.vectors, expected.vectors, atol=2e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), seed=SEEDS)
def test_the_distance_never_grows(name: str, seed: int) -> None:
    symmetry, reference = SYMMETRIES[name], Weights.of(network(name))
    others = Weights.of(*[network(name, seed % 1000 + i) for i in range(3)])
    counts = torch.cat([torch.full((s.numel,), s.role != "buffer") for s in reference.layout.floating])
    before = ((others.vectors - reference.vectors) * counts).norm(dim=1)
    aligned = symmetry.align(others, reference)
    assert bool((((aligned.vectors - reference.vectors) * counts).norm(dim=1) <= before + 1e-6).all())
    for one, other in zip(others, aligned, strict=True):
        assert_same_function(name, one, other)


def test_what_a_batch_is_aligned_to_does_not_depend_on_its_neighbours() -> None:
    reference, others = Weights.of(MLP.build(0)), Weights.of(*[MLP.build(seed) for seed in range(1, 5)])
    together = SYMMETRIES["mlp"].align(others, reference)
    alone = Weights.concatenate([SYMMETRIES["mlp"].align(one, reference) for one in others])
    assert torch.equal(together.vectors, alone.vectors)
    assert bool(
        ((together.vectors - reference.vectors).norm(dim=1) < (others.vectors - reference.vectors).norm(dim=1)).all()
    )


def test_balanced_units_have_equal_incoming_and_outgoing_norms() -> None:
    tensors = SYMMETRIES["mlp"].balance(Weights.of(MLP.build(3))).states()[0]
    incoming = torch.cat([tensors["fc1.weight"], tensors["fc1.bias"][:, None]], dim=1).norm(dim=1)
    torch.testing.assert_close(incoming, tensors["fc2.weight"].norm(dim=0), atol=1e-5, rtol=1e-4)


def test_a_normalised_unit_is_balanced_by_the_weights_of_its_norm() -> None:
    name = "batch norm on vectors"
    before = Weights.of(network(name)).states()[0]
    after = SYMMETRIES[name].balance(Weights.of(network(name))).states()[0]
    assert torch.equal(after["0.weight"], before["0.weight"])
    incoming = torch.stack([after["1.weight"], after["1.bias"]]).norm(dim=0)
    torch.testing.assert_close(incoming, after["3.weight"].norm(dim=0), atol=1e-5, rtol=1e-4)


def test_canonicalising_maps_all_symmetric_copies_to_one() -> None:
    symmetry = SYMMETRIES["residual"]
    reference = symmetry.balance(Weights.of(network("residual")))
    copies = [
        symmetry.permute(symmetry.rescale(reference, factors_of(symmetry, seed)), orders_of(symmetry, seed))
        for seed in range(3)
    ]
    found = symmetry.canonicalise(Weights.concatenate(copies), reference)
    torch.testing.assert_close(found.vectors, reference.vectors.expand(3, -1), atol=1e-5, rtol=1e-4)


def test_a_batch_may_be_given_other_orders_and_factors_network_by_network() -> None:
    symmetry, weights = SYMMETRIES["mlp"], Weights.of(MLP.build(0), MLP.build(1))
    orders, factors = torch.stack([torch.randperm(8), torch.randperm(8)]), torch.rand(2, 8) + 0.5
    together = symmetry.rescale(symmetry.permute(weights, {"fc1.weight:0": orders}), {"fc1.weight:0": factors})
    for i, one in enumerate(weights):
        alone = symmetry.permute(one, {"fc1.weight:0": orders[i]})
        alone = symmetry.rescale(alone, {"fc1.weight:0": factors[i]})
        assert torch.equal(alone.vectors[0], together.vectors[i])


def test_dead_units_keep_their_scale() -> None:
    module = MLP.build(0)
    with torch.no_grad():
        module.fc1.weight[2] = 0
        module.fc1.bias[2] = 0
    assert bool(SYMMETRIES["mlp"].balance(Weights.of(module)).finite().all())


def test_weights_that_are_given_are_not_changed() -> None:
    weights = Weights.of(MLP.build(0))
    before = weights.vectors.clone()
    symmetry = SYMMETRIES["mlp"]
    symmetry.canonicalise(symmetry.permute(weights, orders_of(symmetry, 0)), weights)
    symmetry.canonicalise(symmetry.rescale(weights, factors_of(symmetry, 0)), symmetry.balance(weights))
    assert torch.equal(weights.vectors, before)


def test_folding_inactive_inputs_keeps_the_function() -> None:
    module, images, symmetry = MLP.build(0), inputs("mlp"), SYMMETRIES["mlp"]
    active = torch.ones(1, 3, 5, dtype=torch.bool)
    active[0, 1, :3] = False
    values = torch.full((1, 3, 5), -0.4)
    images[:, ~active] = values[~active]
    weights = Weights.of(module)
    folded = fold_inactive_inputs(weights, symmetry, active, values)
    found, expected = (torch.func.functional_call(module, w.states()[0], (images,)) for w in (folded, weights))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert (folded.states()[0]["fc1.weight"][:, ~active.flatten()] == 0).all()
    other = weights.states()[0]
    other["fc1.weight"] = other["fc1.weight"].clone()
    other["fc1.weight"][:, 5] += 1.0  # an inactive input: only its constant value counts
    other["fc1.bias"] = other["fc1.bias"] + 0.4
    same = fold_inactive_inputs(weights.layout.flatten([other]), symmetry, active, values)
    torch.testing.assert_close(same.vectors, folded.vectors, atol=1e-6, rtol=1e-5)


def test_only_linear_layers_on_the_input_itself_are_folded() -> None:
    assert SYMMETRIES["mlp"].input_layers == (("fc1.weight", "fc1.bias"),)
    assert {layer[0] for layer in SYMMETRIES["two branches"].input_layers} == {"left.weight", "right.weight"}
    assert SYMMETRIES["cnn"].input_layers == SYMMETRIES["attending"].input_layers == ()
    transposed = nn.Sequential(nn.Flatten(2), Transposed(), nn.Flatten(), nn.Linear(6, 2))
    assert Symmetry.of(transposed, (2, 3)).input_layers == ()
    assert Symmetry.of(nn.Linear(3, 2, bias=False), (3,)).input_layers == ()


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_only_homogeneous_activations_are_scaled() -> None:
    found = Symmetry.of(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), (3,))
    assert [group.units for group in found.permutations] == [4, 5]
    assert [group.units for group in found.scales] == [5]


def test_an_activation_that_stands_twice_counts_twice() -> None:
    tanh = nn.Tanh()
    found = Symmetry.of(nn.Sequential(nn.Linear(3, 4), tanh, nn.Linear(4, 5), tanh, nn.Linear(5, 2)), (3,))
    assert (len(found.permutations), len(found.scales)) == (2, 0)


def test_a_network_without_hidden_units_has_no_groups() -> None:
    found = Symmetry.of(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), (2, 3))
    weights = Weights.of(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
    assert (found.permutations, found.scales, found.not_understood) == ((), (), ())
    assert torch.equal(found.canonicalise(weights, weights).vectors, weights.vectors)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_an_empty_batch_is_its_own_balance_and_alignment(name: str) -> None:
    weights = Weights.of((MLP if name == "mlp" else SMALL_CNN).build(0))
    assert len(SYMMETRIES[name].balance(weights[:0])) == len(SYMMETRIES[name].align(weights[:0], weights)) == 0


class Unknown(nn.Module):
    """An operation without a rule in the middle of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.b(torch.cumsum(self.a(x), dim=1))
        return self.d(F.relu(self.c(hidden)))


def test_units_around_what_is_not_understood_stay_where_they_are() -> None:
    found = Symmetry.of(Unknown(), (3,))
    assert found.not_understood == ("cumsum",)
    assert [group.name for group in found.permutations] == ["b.weight:0", "c.weight:0"]


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_is_asked_wrongly_is_refused() -> None:
    symmetry, weights = SYMMETRIES["mlp"], Weights.of(MLP.build(0))
    with pytest.raises(NotExportable, match=r"DataDependent cannot be traced .*: .*data-dependent"):
        Symmetry.of(DataDependent(), (3,))
    with pytest.raises(BadInput, match="no group 'fc9'"):
        symmetry.permute(weights, {"fc9": torch.arange(8)})
    with pytest.raises(BadInput, match="not an order"):
        symmetry.permute(weights, {"fc1.weight:0": torch.zeros(8, dtype=torch.int64)})
    with pytest.raises(BadInput, match="not 8 positive factors"):
        symmetry.rescale(weights, {"fc1.weight:0": torch.tensor([-1.0, *[1.0] * 7])})
    with pytest.raises(BadInput, match="the reference is 2 networks"):
        symmetry.align(weights, Weights.of(MLP.build(0), MLP.build(1)))
    with pytest.raises(LayoutMismatch):
        symmetry.balance(Weights.of(SMALL_CNN.build(0)))
