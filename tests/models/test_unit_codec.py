"""Unit tokens: which numbers stand in which token, and how flat and unit values are standardised."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from weightsmith.codecs import known_numbers, make_codec, reconstruction_error
from weightsmith.codecs.flat import FlatCodec
from weightsmith.codecs.places import UnitPlaces
from weightsmith.codecs.standardising import Standard
from weightsmith.codecs.unit import UnitCodec
from weightsmith.errors import BadInput
from weightsmith.layout import ROLES, Layout, TensorSpec, Weights
from weightsmith.tokens import TokenMeaning


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 2)
        self.bn1 = nn.BatchNorm2d(3)
        self.fc = nn.Linear(5, 2)
        self.gain = nn.Parameter(torch.ones(()))


RESIDUAL = Layout.of(Residual())


def random_weights(layout: Layout, count: int, seed: int = 0) -> Weights:
    rng = torch.Generator().manual_seed(seed)
    return Weights.generated(layout, torch.randn(count, layout.parameters, generator=rng).to(layout.dtype))


def test_a_unit_is_its_row_and_bias_or_its_norm_and_statistics() -> None:
    weights, codec = random_weights(RESIDUAL, 2), UnitCodec(width=None, standardise="none")
    codec.fit(weights)
    tokens, stacked = codec.encode(weights), weights.stacked()
    found = dict(zip(tokens.meanings, tokens.values[1], strict=True))
    assert len(found) == 1 + 3 + 3 + 2
    assert codec.space().dim == 9
    conv = torch.cat([stacked["conv1.weight"][1, 2].flatten(), stacked["conv1.bias"][1, 2:3]])
    assert torch.equal(found[TokenMeaning("conv1.weight", 2, 0, "weight")], conv)
    norm = torch.stack([stacked[f"bn1.{n}"][1, 1] for n in ("weight", "bias", "running_mean", "running_var")])
    assert torch.equal(found[TokenMeaning("bn1.weight", 1, 0, "norm")], torch.cat([norm, torch.zeros(5)]))
    linear = torch.cat([stacked["fc.weight"][1, 0], stacked["fc.bias"][1, :1], torch.zeros(3)])
    assert torch.equal(found[TokenMeaning("fc.weight", 0, 0, "weight")], linear)
    gain = torch.cat([stacked["gain"][1].reshape(1), torch.zeros(8)])
    assert torch.equal(found[TokenMeaning("gain", 0, 0, "weight")], gain)


def test_a_long_unit_is_chunked_and_a_chunk_means_the_tensor_that_it_begins_in() -> None:
    weights, codec = random_weights(RESIDUAL, 2), UnitCodec(width=4, standardise="none")
    codec.fit(weights)
    tokens, stacked = codec.encode(weights), weights.stacked()
    found = dict(zip(tokens.meanings, tokens.values[0], strict=True))
    row = stacked["conv1.weight"][0, 1].flatten()
    assert torch.equal(found[TokenMeaning("conv1.weight", 1, 0, "weight")], row[:4])
    assert torch.equal(found[TokenMeaning("conv1.weight", 1, 1, "weight")], row[4:])
    bias = torch.cat([stacked["conv1.bias"][0, 1:2], torch.zeros(3)])
    assert torch.equal(found[TokenMeaning("conv1.bias", 1, 2, "bias")], bias)
    order = [(m.unit, m.chunk) for m in tokens.meanings if m.tensor.startswith("conv1")]
    assert order == sorted(order)


SPECS = st.lists(  # module, shape, dtype, role: scalars, empty tensors and integers among them
    st.tuples(
        st.integers(0, 2),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
        st.sampled_from(["float32", "float32", "float16", "float64", "int64"]),
        st.sampled_from(ROLES),
    ),
    max_size=7,
)


def layout_of(specs: list[tuple]) -> Layout:
    """Several tensors a module, the modules interleaved, and one tensor that holds something for certain."""
    named = [(f"module{module}.tensor{i}", *rest) for i, (module, *rest) in enumerate(specs)]
    named.insert(len(named) // 2, ("module1.weight", (3, 2), "float32", "weight"))
    return Layout(tuple(TensorSpec(*fields) for fields in named))


@settings(max_examples=60, deadline=None)
@given(specs=SPECS, width=st.none() | st.integers(1, 20))
def test_every_number_stands_in_one_place(specs: list[tuple], width: int | None) -> None:
    layout = layout_of(specs)
    places = UnitPlaces.of(layout, width)
    index, valid = places.index, places.space.valid
    assert sorted(index[valid].tolist()) == list(range(layout.parameters))
    assert (index[~valid] == -1).all()
    assert torch.equal(index.flatten()[places.slots], torch.arange(layout.parameters))
    assert len(set(places.space.meanings)) == len(places.space) == len(index)
    assert width is None or index.shape[1] <= width
    roles = {spec.name: spec.role for spec in layout.floating}
    for meaning, first in zip(places.space.meanings, index[:, 0].tolist(), strict=True):
        start, end = layout.offsets[meaning.tensor]
        assert start <= first < end
        assert meaning.role == roles[meaning.tensor]


@settings(max_examples=40, deadline=None)
@given(
    specs=SPECS,
    width=st.none() | st.integers(1, 9),
    standardise=st.sampled_from(["none", "tensor", "position"]),
    scale=st.sampled_from([1e-5, 1.0, 1e5]),
    shift=st.sampled_from([0.0, 100.0]),
)
@example(  # a scalar of one network is far smaller than that of the others, with which it is standardised
    specs=[(0, (3,), "float32", "weight"), *[(0, (), "float32", "weight")] * 2, (0, (3, 3), "float32", "weight")],
    width=None,
    standardise="tensor",
    scale=1e-5,
    shift=0.0,
)
def test_any_network_of_any_layout_comes_back(
    specs: list[tuple], width: int | None, standardise: str, scale: float, shift: float
) -> None:
    layout = layout_of(specs)
    weights = random_weights(layout, 5)
    weights = weights.replace(weights.vectors * scale + shift)
    flat, unit = FlatCodec(standardise=standardise != "none"), UnitCodec(width, standardise)
    for codec in (flat, unit):
        codec.fit(weights[:3])
        errors = reconstruction_error(codec, weights)
        for name, (start, end) in layout.offsets.items():
            size = weights.vectors[:, start:end].double().norm(dim=1)
            lost = torch.where(size > 0, errors[name] * size, 0.0)
            assert float(lost.max()) <= 1e-6 * float(size.max()), "to the rounding of what it is standardised with"


def test_the_flat_codec_and_the_unit_codec_standardise_alike() -> None:
    weights, flat, unit = random_weights(RESIDUAL, 4), FlatCodec(), UnitCodec(width=5)
    flat.fit(weights)
    unit.fit(weights)
    values, index = unit.encode(weights).values, unit.positions()
    assert torch.equal(values[:, index >= 0], flat.encode(weights).vectors()[:, index[index >= 0]])


@pytest.mark.parametrize("codec", [FlatCodec(), UnitCodec(width=5)])
def test_tensors_have_mean_zero_and_deviation_one(codec: FlatCodec | UnitCodec) -> None:
    weights = random_weights(RESIDUAL, 6)
    codec.fit(weights.replace(weights.vectors * 3 + 2))
    values = codec.encode(weights.replace(weights.vectors * 3 + 2)).values
    for name in RESIDUAL.offsets:
        part = values[:, known_numbers(codec, RESIDUAL, [name])]
        assert abs(float(part.mean())) < 1e-5
        assert float(part.std(correction=0)) == pytest.approx(1.0, abs=1e-5)


def test_positions_have_mean_zero_and_deviation_one_and_constant_ones_their_tensors() -> None:
    weights, codec = random_weights(RESIDUAL, 6), UnitCodec(width=5, standardise="position")
    start, end = RESIDUAL.offsets["fc.weight"]
    weights.vectors[:, start] = 0.3  # an input that is never active, say
    weights.vectors[:, RESIDUAL.offsets["gain"][0]] = 7.0
    codec.fit(weights)
    values, valid = codec.encode(weights).values, codec.space().valid
    index = codec.positions()
    constant = (index == start) | (index == RESIDUAL.offsets["gain"][0])
    moving = values[:, valid & ~constant]
    torch.testing.assert_close(moving.mean(dim=0), torch.zeros(moving.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(moving.std(dim=0, correction=0), torch.ones(moving.shape[1]), atol=1e-5, rtol=0)
    assert values[:, constant].abs().max() < 1e-5
    other = weights[:1].replace(weights.vectors[:1].clone())
    other.vectors[0, start] = 1.3
    whole = weights.vectors[:, start + 1 : end].std(dim=0, correction=0).square().sum() / (end - start)
    assert float(codec.encode(other).values[0, index == start]) == pytest.approx(1 / float(whole.sqrt()), rel=1e-4)


def test_what_is_constant_altogether_is_no_division_by_zero() -> None:
    weights = random_weights(RESIDUAL, 2)
    constant = weights.replace(torch.full_like(weights.vectors, 0.1))
    for per in ("tensor", "position"):
        standard = Standard.of(constant, per, "any")
        assert (standard.scale == 1).all()
        assert standard.apply(constant.vectors).abs().max() < 1e-6
        assert torch.equal(standard.invert(standard.apply(constant.vectors)), constant.vectors)


@pytest.mark.parametrize("options", [{}, {"roles": ["weight", "bias"]}, {"roles": ["weight"]}])
@pytest.mark.parametrize("name", ["flat", "unit"])
def test_known_numbers_are_those_of_the_given_tensors(name: str, options: dict[str, object]) -> None:
    weights, codec = random_weights(RESIDUAL, 3), make_codec(name, options)
    codec.fit(weights)
    before, tokens = codec.encode(weights), codec.space()
    for given_, tensors in (("conv1", ["conv1.weight", "conv1.bias"]), ("fc.weight", ["fc.weight"])):
        moved = weights.replace(weights.vectors.clone())
        for tensor in tensors:
            moved.vectors[:, slice(*RESIDUAL.offsets[tensor])] += 1
        differs = (codec.encode(moved).values != before.values).any(dim=0)
        known = known_numbers(codec, RESIDUAL, [given_])
        assert torch.equal(known, differs)
        assert known.shape == tokens.valid.shape
    assert not known_numbers(codec, RESIDUAL, []).any()


def test_known_numbers_refuse_names_that_are_not_there_and_codecs_that_mix() -> None:
    weights, unit, pca = random_weights(RESIDUAL, 3), make_codec("unit", {}), make_codec("pca", {})
    unit.fit(weights)
    pca.fit(weights)
    with pytest.raises(BadInput, match=r"(?s)'conv'.*conv1"):
        known_numbers(unit, RESIDUAL, ["conv"])
    with pytest.raises(BadInput, match=r"(?s)PcaCodec.*flat or unit"):
        known_numbers(pca, RESIDUAL, ["conv1"])
