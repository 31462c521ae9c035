"""One contract table for all codecs and stages: laws that every one of them obeys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

from weightsmith.codecs import make_codec, reconstruction_error
from weightsmith.codecs.canonical import CanonicalCodec
from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.interfaces import Codec
from weightsmith.layout import Weights
from weightsmith.settings.options import OPTIONS
from weightsmith.settings.registry import CODECS
from weightsmith.symmetry import Symmetry

CONTRACT: dict[str, dict[str, object]] = {
    "flat": {},
    "flat, not standardised": {"standardise": False},
    "flat, weights only": {"roles": ["weight"]},
    "flat, canonical": {"canonical": True},
    "span": {},
    "span, canonical": {"canonical": True},
    "pca": {},
    "pca, truncated": {"components": 1},
    "pca, truncated, not whitened": {"components": 2, "whiten": False},
    "unit": {},
    "unit, chunked": {"width": 3, "standardise": "position"},
    "unit, not standardised": {"standardise": "none", "width": None},
    "unit, canonical weights": {"canonical": True, "roles": ["weight", "norm"]},
    "autoencoder": {"latent": 2, "hidden": [8], "epochs": 2, "width": 6},
    "autoencoder, canonical": {"latent": 1, "hidden": [], "epochs": 1, "canonical": True, "noise": 0.1},
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def network(seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Sizes that differ, norm buffers, an integer counter, and tensors of unequal scales far from zero."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.BatchNorm1d(4), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        module[0].bias.mul_(1e-3).add_(4.0)  # a tensor far from zero with a small deviation
        module[4].weight.mul_(30.0)
        module[3].running_mean.normal_()
        module[3].num_batches_tracked.add_(seed)
    return module.to(dtype)


def networks(count: int, dtype: torch.dtype = torch.float32) -> Weights:
    return Weights.of(*[network(seed, dtype) for seed in range(count)])


@cache  # most tests need it, and tracing takes longer than they do
def symmetry(dtype: torch.dtype = torch.float32) -> Symmetry:
    return Symmetry.of(network(0, dtype).eval(), (5,))


def test_every_registered_codec_is_in_the_table() -> None:
    assert {name.partition(",")[0] for name in CONTRACT} == set(CODECS) == set(OPTIONS["codec"])


@pytest.mark.parametrize("name", CONTRACT)
def test_the_options_of_the_table_are_those_of_recipes(name: str) -> None:
    whole = OPTIONS["codec"][name.partition(",")[0]].model_validate(CONTRACT[name]).model_dump()
    make_codec(name.partition(",")[0], whole, symmetry())


@pytest.fixture(params=CONTRACT)
def make(request: pytest.FixtureRequest) -> Callable[[], Codec]:
    """Makes the codec anew, unfitted."""
    name = request.param.partition(",")[0]
    return lambda dtype=torch.float32: make_codec(name, CONTRACT[request.param], symmetry(dtype))


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return DTYPES[request.param]


def test_training_networks_come_back_within_a_millionth(make: Callable[..., Codec], dtype: torch.dtype) -> None:
    codec, weights = make(dtype), networks(5, dtype)
    codec.fit(weights)
    worst = max(float(error.max()) for error in reconstruction_error(codec, weights).values())
    assert (worst <= 1e-6) == (codec.exactness != "lossy")


def test_other_networks_come_back_where_the_codec_says_so(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(5)
    codec.fit(weights[:3])
    worst = max(float(error.max()) for error in reconstruction_error(codec, weights[3:]).values())
    assert (worst <= 1e-6) == codec.exactness.startswith("everywhere")


def test_weights_as_weights_come_back_unless_it_is_up_to_symmetry(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(3)
    codec.fit(weights)
    decoded = codec.decode(codec.encode(weights), weights.layout)
    same = torch.allclose(decoded.vectors, weights.vectors, rtol=1e-5, atol=1e-5)
    assert same == (codec.exactness in ("everywhere", "on its training checkpoints"))


def test_tokens_lie_in_the_space(make: Callable[..., Codec], dtype: torch.dtype) -> None:
    codec, weights = make(dtype), networks(4, dtype)
    codec.fit(weights)
    tokens, space = codec.encode(weights[:2]), codec.space()
    assert tokens.values.shape == (2, len(space), space.dim)
    assert tokens.meanings == space.meanings
    assert len(set(space.meanings)) == len(space)
    assert tokens.mask.all()
    assert not tokens.values[:, ~space.valid].any()
    assert space.valid.any(dim=1).all()


def test_padding_is_never_read(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(4)
    codec.fit(weights)
    tokens = codec.encode(weights)
    spoilt = tokens.values.masked_fill(~codec.space().valid, float("nan"))
    expected = codec.decode(tokens, weights.layout).vectors
    assert torch.equal(codec.decode(tokens.replace(spoilt), weights.layout).vectors, expected)


def test_decoded_networks_are_whole(make: Callable[..., Codec], dtype: torch.dtype) -> None:
    codec, weights = make(dtype), networks(4, dtype)
    codec.fit(weights)
    tokens = codec.encode(weights[:3])
    decoded = codec.decode(tokens.replace(tokens.values.float()), weights.layout)
    assert decoded.layout == weights.layout
    assert decoded.vectors.dtype == weights.layout.dtype
    assert not decoded.stacked()["3.num_batches_tracked"].any()
    for state in decoded.states():
        network(0, dtype).load_state_dict(state)


def test_decoding_is_differentiable_in_every_real_number(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(4)
    codec.fit(weights)
    tokens, space = codec.encode(weights), codec.space()
    values = tokens.values.clone().requires_grad_()
    codec.decode(tokens.replace(values), weights.layout).vectors.square().sum().backward()
    assert values.grad is not None
    assert not values.grad[:, ~space.valid].any()
    assert values.grad.abs().sum(dim=0)[space.valid].count_nonzero() > 0.9 * space.valid.sum()


def test_restoring_gives_the_same_codec_bitwise(make: Callable[..., Codec], dtype: torch.dtype) -> None:
    codec, weights = make(dtype), networks(4, dtype)
    codec.fit(weights)
    again = make(dtype)
    again.restore({name: value.clone() for name, value in codec.tensors().items()}, weights.layout)
    tokens = codec.encode(weights)
    assert torch.equal(again.encode(weights).values, tokens.values)
    assert torch.equal(again.decode(tokens, weights.layout).vectors, codec.decode(tokens, weights.layout).vectors)
    assert again.exactness == codec.exactness
    assert again.space().meanings == codec.space().meanings
    assert {name: value.tolist() for name, value in again.tensors().items()} == {
        name: value.tolist() for name, value in codec.tensors().items()
    }


def test_restoring_refuses_other_shapes_and_names(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(4)
    codec.fit(weights)
    tensors = codec.tensors()
    for name, value in tensors.items():
        with pytest.raises(ArtifactError, match=name.rpartition(".")[2]):
            make().restore(
                {**tensors, name: torch.cat([value.reshape(-1), value.reshape(-1), torch.ones(1)])}, weights.layout
            )
        with pytest.raises(ArtifactError):
            make().restore({key: value for key, value in tensors.items() if key != name}, weights.layout)
    with pytest.raises(ArtifactError, match="stranger"):
        make().restore({**tensors, "stranger": torch.ones(1)}, weights.layout)


def test_a_network_is_encoded_alike_alone_and_among_others(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(5)
    codec.fit(weights)
    together = codec.encode(weights)
    alone = torch.cat([codec.encode(one).values for one in weights])
    torch.testing.assert_close(alone, together.values, rtol=1e-4, atol=1e-4)
    decoded = codec.decode(together, weights.layout).vectors
    one = torch.cat([codec.decode(together[i : i + 1], weights.layout).vectors for i in range(5)])
    torch.testing.assert_close(one, decoded, rtol=1e-4, atol=1e-5)


def test_no_networks_are_no_tokens(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(4)
    codec.fit(weights)
    nothing = codec.encode(weights[:0])
    assert nothing.values.shape == (0, len(codec.space()), codec.space().dim)
    assert len(codec.decode(nothing, weights.layout)) == 0


def test_fitting_again_forgets_the_first_time(make: Callable[[], Codec]) -> None:
    weights = networks(8)
    twice, once = make(), make()
    twice.fit(weights[4:])
    twice.fit(weights[:4])
    once.fit(weights[:4])
    assert torch.equal(twice.encode(weights).values, once.encode(weights).values)


def test_another_layout_is_refused_by_name(make: Callable[[], Codec]) -> None:
    codec = make()
    codec.fit(networks(4))
    other = Weights.of(nn.Linear(5, 7))
    with pytest.raises(LayoutMismatch, match="'weight'"):
        codec.encode(other)
    with pytest.raises(LayoutMismatch, match="'weight'"):
        codec.decode(codec.encode(networks(1)), other.layout)


def test_tokens_of_another_space_are_refused(make: Callable[[], Codec]) -> None:
    codec, weights = make(), networks(4)
    codec.fit(weights)
    tokens = codec.encode(weights)
    with pytest.raises(BadInput, match=r"(?s)a network, not \[.*remedy"):
        codec.decode(tokens.replace(torch.cat([tokens.values, tokens.values], dim=2)), weights.layout)


def test_an_unfitted_codec_says_so(make: Callable[[], Codec]) -> None:
    for use in (lambda codec: codec.encode(networks(1)), lambda codec: codec.space()):
        with pytest.raises(BadInput, match="has not been fitted"):
            use(make())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(make: Callable[[], Codec], value: float) -> None:
    codec, weights = make(), networks(4)
    spoilt = weights.replace(weights.vectors.clone())
    spoilt.vectors[2, weights.layout.offsets["2.weight"][0] + 1] = value
    with pytest.raises(BadInput, match=rf"(?s)to fit.*network 2 holds {value} in tensor '2.weight'.*remedy"):
        codec.fit(spoilt)
    codec.fit(weights)
    with pytest.raises(BadInput, match=rf"(?s)to encode.*network 2 holds {value} in tensor '2.weight'.*remedy"):
        codec.encode(spoilt)


def test_fitting_on_nothing_is_refused(make: Callable[[], Codec]) -> None:
    with pytest.raises(BadInput, match=r"(?s)no network to fit.*at least"):
        make().fit(networks(2)[:0])


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("span", {}, 1),
        ("pca", {}, 1),
        ("unit", {"standardise": "position"}, 1),
        ("autoencoder", {}, 2),
        ("autoencoder", {"held_out": 0.0}, 1),
    ],
)
def test_too_few_networks_are_counted(name: str, options: dict[str, object], count: int) -> None:
    with pytest.raises(BadInput, match=rf"(?s){count} networks? to fit the \w+ codec on.*at least"):
        make_codec(name, options).fit(networks(count))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pca", {"components": 0}, "components=0"),
        ("unit", {"width": 0}, "width=0"),
        ("unit", {"standardise": "layer"}, "standardise='layer'"),
        ("autoencoder", {"latent": 0}, "latent=0"),
        ("autoencoder", {"held_out": 1.0}, r"held_out=1\.0"),
        ("flat", {"roles": ["wieght"]}, "wieght"),
        ("flat", {"roles": []}, r"roles=\[\]"),
    ],
)
def test_values_without_meaning_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=rf"(?s){message}.*remedy"):
        make_codec(name, options)


def test_an_unknown_codec_has_a_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"(?s)'spam'.*span"):
        make_codec("spam", {})


def test_networks_without_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match="0 floating-point values"):
        make_codec("unit", {}).fit(Weights.of(nn.Sequential(nn.ReLU())))


def test_the_reconstruction_error_is_relative_and_by_tensor() -> None:
    weights = networks(4)
    codec = make_codec("flat", {"roles": ["bias", "norm", "buffer"]})
    codec.fit(weights)
    errors = reconstruction_error(codec, weights)
    assert list(errors) == [spec.name for spec in weights.layout.floating]
    assert all(error.shape == (4,) for error in errors.values())
    assert float(errors["0.bias"].max()) <= 1e-6
    matrices = weights.stacked()["0.weight"].double()
    wanted = (matrices - matrices.mean(dim=0)).norm(dim=(1, 2)) / matrices.norm(dim=(1, 2))
    torch.testing.assert_close(errors["0.weight"], wanted, rtol=1e-5, atol=0)


def test_the_reconstruction_error_of_a_canonical_codec_is_of_the_canonical_form() -> None:
    weights = networks(3)
    codec = make_codec("flat", {"canonical": True}, symmetry())
    assert isinstance(codec, CanonicalCodec)
    codec.fit(weights)
    assert (codec.canonical(weights).vectors - weights.vectors).norm() > 0.1
    assert max(float(error.max()) for error in reconstruction_error(codec, weights).values()) <= 1e-6
