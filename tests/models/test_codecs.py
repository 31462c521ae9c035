"""One contract table for all codecs, then what is particular to each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from weightsmith.codecs import make_codec
from weightsmith.codecs.flat import FlatCodec
from weightsmith.codecs.span import SpanCodec
from weightsmith.errors import BadInput, LayoutMismatch
from weightsmith.interfaces import Codec
from weightsmith.layout import Weights
from weightsmith.settings.registry import CODECS

CONTRACT: dict[str, Callable[[], Codec]] = {
    "flat": FlatCodec,
    "flat, not standardised": lambda: FlatCodec(standardise=False),
    "span": SpanCodec,
}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3, bias=False))
    with torch.no_grad():
        module[0].bias.mul_(1e-3).add_(4.0)  # a tensor far from zero with a small deviation
        module[3].weight.mul_(30.0)
    return module


def networks(count: int) -> Weights:
    return Weights.of(*[network(seed) for seed in range(count)])


def test_every_registered_codec_is_in_the_table() -> None:
    assert {name.partition(",")[0] for name in CONTRACT} == set(CODECS)


@pytest.fixture(params=CONTRACT)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CONTRACT[request.param]()


def test_training_networks_come_back_within_a_millionth(codec: Codec) -> None:
    weights = networks(4)
    codec.fit(weights)
    decoded = codec.decode(codec.encode(weights), weights.layout)
    for name, before in weights.stacked().items():
        after = decoded.stacked()[name]
        if before.is_floating_point():
            rms = before.double().square().mean(dim=tuple(range(1, before.ndim))).sqrt()
            error = (after.double() - before.double()).square().mean(dim=tuple(range(1, before.ndim))).sqrt()
            assert (error <= 1e-6 * rms + 1e-12).all(), name


def test_other_networks_come_back_where_the_codec_says_so(codec: Codec) -> None:
    weights = networks(5)
    codec.fit(weights[:3])
    decoded = codec.decode(codec.encode(weights[3:]), weights.layout)
    same = torch.allclose(decoded.vectors, weights[3:].vectors, rtol=1e-4, atol=1e-6)
    assert same == (codec.exactness == "everywhere")


def test_tokens_are_one_a_network(codec: Codec) -> None:
    weights = networks(4)
    codec.fit(weights)
    tokens = codec.encode(weights[:2])
    assert tokens.values.shape[:2] == (2, 1)
    assert tokens.mask.all()
    assert tokens.meanings[0].tensor == "*"


def test_decoding_is_differentiable(codec: Codec) -> None:
    weights = networks(3)
    codec.fit(weights)
    tokens = codec.encode(weights)
    values = tokens.values.clone().requires_grad_()
    codec.decode(tokens.replace(values), weights.layout).vectors.sum().backward()
    assert values.grad is not None
    assert values.grad.abs().sum() > 0


def test_restoring_gives_the_same_codec(codec: Codec) -> None:
    weights = networks(4)
    codec.fit(weights)
    again = type(codec)() if isinstance(codec, SpanCodec) else FlatCodec(codec.standardise)  # type: ignore[attr-defined]
    again.restore(codec.tensors(), weights.layout)
    assert torch.equal(again.encode(weights).values, codec.encode(weights).values)


def test_another_layout_is_refused_by_name(codec: Codec) -> None:
    codec.fit(networks(3))
    other = Weights.of(nn.Linear(5, 7))
    with pytest.raises(LayoutMismatch, match="'weight'"):
        codec.encode(other)
    with pytest.raises(LayoutMismatch, match="'weight'"):
        codec.decode(codec.encode(networks(1)), other.layout)


def test_an_unfitted_codec_says_so(codec: Codec) -> None:
    with pytest.raises(BadInput, match="has not been fitted"):
        codec.encode(networks(1))


def test_fitting_on_nothing_is_refused(codec: Codec) -> None:
    with pytest.raises(BadInput, match="to fit"):
        codec.fit(networks(2)[:0])


def test_an_unknown_codec_has_a_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"(?s)'spam'.*span"):
        make_codec("spam", {})


def test_flat_standardises_each_tensor() -> None:
    weights = networks(6)
    codec = FlatCodec()
    codec.fit(weights)
    values = codec.encode(weights).vectors()
    for start, end in weights.layout.offsets.values():
        part = values[:, start:end]
        assert abs(float(part.mean())) < 1e-4
        assert float(part.std(correction=0)) == pytest.approx(1.0, abs=1e-4) or float(part.abs().max()) == 0.0


def test_span_coordinates_are_an_isometry_of_the_span() -> None:
    weights = networks(5)
    codec = SpanCodec()
    codec.fit(weights)
    coordinates = codec.encode(weights).vectors()
    assert coordinates.shape == (5, 4)
    torch.testing.assert_close(torch.cdist(coordinates, coordinates), torch.cdist(weights.vectors, weights.vectors))
    torch.testing.assert_close(coordinates.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)


def test_span_of_networks_on_a_line_has_one_dimension() -> None:
    weights = networks(2)
    on_a_line = weights.replace(torch.stack([weights.vectors[0], weights.vectors[1]]))
    middle = weights[:1].replace(weights.vectors.mean(dim=0, keepdim=True))
    codec = SpanCodec()
    codec.fit(Weights.concatenate([on_a_line, middle]))
    assert codec.encode(weights).values.shape[2] == 1


def test_span_projects_what_lies_outside() -> None:
    weights = networks(5)
    codec = SpanCodec()
    codec.fit(weights[:4])
    projected = codec.decode(codec.encode(weights[4:]), weights.layout).vectors[0]
    residual = weights.vectors[4] - projected
    directions = weights.vectors[1:4] - weights.vectors[0]
    torch.testing.assert_close(directions @ residual, torch.zeros(3), atol=2e-2, rtol=0)


@pytest.mark.parametrize("count", [1, 3])
def test_span_needs_two_different_networks(count: int) -> None:
    same = Weights.concatenate([networks(1)] * count)
    with pytest.raises(BadInput, match=r"at least two|differ"):
        SpanCodec().fit(same)


def test_a_constant_tensor_is_no_division_by_zero() -> None:
    weights = networks(2)
    constant = weights.replace(torch.full_like(weights.vectors, 2.0))
    codec = FlatCodec()
    codec.fit(constant)
    assert torch.equal(codec.decode(codec.encode(constant), weights.layout).vectors, constant.vectors)
