"""What can stand before any codec: a canonical form, and the tensors of some roles only."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from weightsmith.codecs import make_codec
from weightsmith.codecs.canonical import CanonicalCodec, medoid
from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))


WEIGHTS = Weights.of(*[network(seed) for seed in range(5)])
SYMMETRY = Symmetry.of(network(0), (4,))


def symmetric_copy(weights: Weights, seed: int) -> Weights:
    """The same functions, units shuffled and scaled."""
    rng = torch.Generator().manual_seed(seed)
    order, scale = torch.randperm(9, generator=rng), torch.rand(9, generator=rng) * 3 + 0.3
    states = []
    for state in weights.states():
        states.append(
            {
                "0.weight": (state["0.weight"] * scale[:, None])[order],
                "0.bias": (state["0.bias"] * scale)[order],
                "2.weight": (state["2.weight"] / scale)[:, order],
                "2.bias": state["2.bias"],
            }
        )
    return weights.layout.flatten(states)


def answers(weights: Weights) -> torch.Tensor:
    images = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    return torch.stack([functional_call(network(0), state, images) for state in weights.states()])


def canonical(name: str, **options: object) -> CanonicalCodec:
    codec = make_codec(name, {"canonical": True, **options}, SYMMETRY)
    assert isinstance(codec, CanonicalCodec)
    return codec


@pytest.mark.parametrize("name", ["flat", "unit", "span", "pca"])
def test_symmetric_copies_have_the_same_tokens(name: str) -> None:
    codec, copies = canonical(name), symmetric_copy(WEIGHTS, seed=1)
    codec.fit(WEIGHTS)
    plain = make_codec(name, {})
    plain.fit(WEIGHTS)
    tokens = codec.encode(WEIGHTS).values
    torch.testing.assert_close(codec.encode(copies).values, tokens, atol=1e-4, rtol=1e-4)
    assert (plain.encode(copies).values - plain.encode(WEIGHTS).values).abs().max() > 0.1


@pytest.mark.parametrize("name", ["flat", "unit", "span", "pca"])
def test_what_is_decoded_is_the_same_function(name: str) -> None:
    codec, copies = canonical(name), symmetric_copy(WEIGHTS, seed=2)
    codec.fit(WEIGHTS)
    decoded = codec.decode(codec.encode(copies), WEIGHTS.layout)
    torch.testing.assert_close(answers(decoded), answers(WEIGHTS), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.vectors, codec.canonical(WEIGHTS).vectors, atol=1e-5, rtol=1e-5)


def test_a_canonical_form_is_its_own_canonical_form_and_balanced() -> None:
    codec = canonical("flat")
    codec.fit(symmetric_copy(WEIGHTS, seed=3))
    form = codec.canonical(WEIGHTS)
    torch.testing.assert_close(codec.canonical(form).vectors, form.vectors, atol=1e-5, rtol=1e-5)
    stacked = form.stacked()
    incoming = stacked["0.weight"].square().sum(dim=2) + stacked["0.bias"].square()
    torch.testing.assert_close(incoming, stacked["2.weight"].square().sum(dim=1), atol=1e-4, rtol=1e-4)


def test_the_reference_is_a_balanced_training_network_and_stored() -> None:
    codec = canonical("unit")
    codec.fit(WEIGHTS)
    assert SYMMETRY is not None
    balanced = SYMMETRY.balance(WEIGHTS).vectors
    reference = codec.tensors()["reference"]
    assert torch.equal(reference, balanced[medoid(balanced)])
    again = canonical("unit")
    again.restore(codec.tensors(), WEIGHTS.layout)
    assert torch.equal(again.encode(WEIGHTS).values, codec.encode(WEIGHTS).values)


def test_the_medoid_is_nearest_to_all_and_the_first_of_equals() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.1, 0.0], [9.0, 0.0]])
    assert medoid(points) == 1
    assert medoid(torch.ones(3, 2)) == 0


def test_aligned_networks_vary_less_than_unaligned_ones() -> None:
    codec = canonical("flat", standardise=False)
    copies = Weights.concatenate([symmetric_copy(WEIGHTS[:1], seed) for seed in range(6)])
    codec.fit(copies)
    assert float(copies.vectors.std(dim=0).max()) > 0.1
    assert float(codec.encode(copies).values.std(dim=0).max()) < 1e-4


def test_without_a_symmetry_networks_are_refused_but_decoded() -> None:
    fitted = canonical("flat")
    fitted.fit(WEIGHTS)
    tokens, codec = fitted.encode(WEIGHTS), make_codec("flat", {"canonical": True})
    with pytest.raises(BadInput, match=r"(?s)canonical=true.*symmetry.*remedy.*canonical=false"):
        codec.fit(WEIGHTS)
    codec.restore(fitted.tensors(), WEIGHTS.layout)
    with pytest.raises(BadInput, match=r"(?s)canonical=true.*symmetry"):
        codec.encode(WEIGHTS)
    expected = fitted.decode(tokens, WEIGHTS.layout).vectors
    assert torch.equal(codec.decode(tokens, WEIGHTS.layout).vectors, expected)


@pytest.mark.parametrize("name", ["flat", "unit"])
def test_one_network_of_weights_only_is_completed_by_its_own_biases(name: str) -> None:
    codec: Codec = make_codec(name, {"roles": ["weight"]})
    codec.fit(WEIGHTS[:1])
    assert int(codec.space().valid.sum()) == 4 * 9 + 9 * 3
    decoded = codec.decode(codec.encode(WEIGHTS[:1]), WEIGHTS.layout)
    torch.testing.assert_close(decoded.vectors, WEIGHTS.vectors[:1], atol=1e-6, rtol=1e-6)
    assert torch.equal(decoded.stacked()["0.bias"], WEIGHTS[:1].stacked()["0.bias"])


@pytest.mark.parametrize("name", ["flat", "unit", "pca"])
def test_what_is_left_out_is_the_mean_of_the_training_networks(name: str) -> None:
    codec = make_codec(name, {"roles": ["weight"]})
    codec.fit(WEIGHTS[:4])
    decoded, stacked = codec.decode(codec.encode(WEIGHTS[1:3]), WEIGHTS.layout).stacked(), WEIGHTS.stacked()
    for layer in ("0", "2"):
        mean = stacked[f"{layer}.bias"][:4].mean(dim=0)
        torch.testing.assert_close(decoded[f"{layer}.bias"], mean.expand(2, -1), atol=1e-6, rtol=1e-6)
        weight = stacked[f"{layer}.weight"][1:3]
        torch.testing.assert_close(decoded[f"{layer}.weight"], weight, atol=1e-5, rtol=1e-5)
    assert codec.exactness == "lossy"


def test_roles_that_leave_nothing_out_are_as_exact_as_the_codec() -> None:
    codec = make_codec("flat", {"roles": ["weight", "bias"]})
    codec.fit(WEIGHTS)
    assert codec.exactness == "everywhere"


def test_roles_that_no_tensor_has_are_refused() -> None:
    with pytest.raises(BadInput, match=r"(?s)roles=\['norm'\].*\['bias', 'weight'\]"):
        make_codec("flat", {"roles": ["norm"]}).fit(WEIGHTS)


def test_the_stages_follow_each_other() -> None:
    codec, copies = canonical("unit", roles=["weight"]), symmetric_copy(WEIGHTS, seed=5)
    codec.fit(WEIGHTS)
    assert {meaning.role for meaning in codec.space().meanings} == {"weight"}
    torch.testing.assert_close(codec.encode(copies).values, codec.encode(WEIGHTS).values, atol=1e-4, rtol=1e-4)
