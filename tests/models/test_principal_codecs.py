"""Principal axes, and the two codecs that are made of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from weightsmith.codecs import reconstruction_error
from weightsmith.codecs.pca import PcaCodec
from weightsmith.codecs.principal import principal_axes
from weightsmith.codecs.span import make_span
from weightsmith.errors import BadInput
from weightsmith.layout import Layout, Weights

LAYOUT = Layout.of(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3, bias=False)))


def cloud(count: int, seed: int = 0) -> Weights:
    rng = torch.Generator().manual_seed(seed)
    return Weights.generated(LAYOUT, torch.randn(count, LAYOUT.parameters, generator=rng))


@settings(max_examples=40, deadline=None)
@given(points=st.integers(2, 9), dim=st.integers(1, 9), seed=st.integers(0, 999), components=st.integers(1, 9))
def test_axes_are_those_of_the_singular_value_decomposition(points: int, dim: int, seed: int, components: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(points, dim, generator=rng, dtype=torch.float64) + 3
    found = principal_axes(x, components)
    singular = torch.linalg.svdvals(x - x.mean(dim=0))
    rank = min(components, points - 1, dim)
    assert found.axes.shape == (rank, dim)
    torch.testing.assert_close(found.axes @ found.axes.T, torch.eye(rank).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.deviations, singular[:rank] / points**0.5, atol=1e-9, rtol=1e-9)
    coordinates = (x - found.mean) @ found.axes.T
    torch.testing.assert_close(coordinates.std(dim=0, correction=0), found.deviations, atol=1e-9, rtol=1e-9)
    assert (coordinates[0] >= 0).all()
    whole = rank == min(points - 1, dim)
    share = float(singular[:rank].square().sum() / singular.square().sum())
    assert found.kept == (1.0 if whole else pytest.approx(share, abs=1e-9))


@pytest.mark.parametrize("shape", [(6, 11), (11, 6)])
def test_axes_far_smaller_than_a_gram_matrix_tells_are_found(shape: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(n, 4, generator=rng).double())[0] for n in shape)
    left = torch.linalg.qr(left - left.mean(dim=0))[0]
    sizes = torch.tensor([1.0, 1e-3, 1e-5, 3e-7]).double()  # squares range over 13 digits
    found = principal_axes((left * sizes) @ right.T)
    torch.testing.assert_close(found.deviations * shape[0] ** 0.5, sizes, rtol=1e-6, atol=0)
    torch.testing.assert_close((found.axes @ right).abs(), torch.eye(4).double(), atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 7), seed=st.integers(0, 999), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_all_components_give_training_networks_back(count: int, seed: int, scale: float) -> None:
    weights = cloud(count, seed)
    start, end = LAYOUT.offsets["2.weight"]
    weights.vectors[:, start:end] *= scale  # a tensor must not pay for one that is 10,000 times as large
    for codec in (make_span(), PcaCodec()):
        codec.fit(weights)
        assert codec.exactness == "on its training checkpoints"
        assert max(float(error.max()) for error in reconstruction_error(codec, weights).values()) <= 1e-6


def test_span_coordinates_are_an_isometry_of_the_span() -> None:
    weights, codec = cloud(5), make_span()
    codec.fit(weights)
    coordinates = codec.encode(weights).vectors()
    assert coordinates.shape == (5, 4)
    torch.testing.assert_close(torch.cdist(coordinates, coordinates), torch.cdist(weights.vectors, weights.vectors))
    torch.testing.assert_close(coordinates.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)


def test_span_of_networks_on_a_line_has_one_dimension() -> None:
    weights, codec = cloud(2), make_span()
    middle = weights[:1].replace(weights.vectors.mean(dim=0, keepdim=True))
    codec.fit(Weights.concatenate([weights, middle]))
    assert codec.encode(weights).values.shape[2] == 1


@pytest.mark.parametrize("codec", [make_span(), PcaCodec(), PcaCodec(components=2)])
def test_what_lies_outside_is_projected(codec: PcaCodec) -> None:
    weights = cloud(5)
    codec.fit(weights[:4])
    projected = codec.decode(codec.encode(weights[4:]), LAYOUT).vectors
    again = codec.decode(codec.encode(weights[4:].replace(projected)), LAYOUT).vectors
    torch.testing.assert_close(again, projected, atol=1e-5, rtol=0)
    residual = (weights.vectors[4] - projected[0]).double()
    axes = principal_axes(weights.vectors[:4].double(), codec.components).axes
    torch.testing.assert_close(axes @ residual, torch.zeros(len(axes)).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("components", [None, 3])
def test_whitened_coordinates_have_mean_zero_and_deviation_one(components: int | None) -> None:
    weights, codec = cloud(6), PcaCodec(components)
    codec.fit(weights)
    values = codec.encode(weights).vectors()
    assert values.shape == (6, components or 5)
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.T @ values / 6, torch.eye(values.shape[1]), atol=1e-5, rtol=0)


def test_a_truncated_codec_loses_just_the_variance_that_it_says() -> None:
    weights, codec = cloud(8), PcaCodec(components=3)
    codec.fit(weights)
    assert codec.exactness == "lossy"
    decoded = codec.decode(codec.encode(weights), LAYOUT).vectors
    lost = (decoded - weights.vectors).square().sum() / (weights.vectors - weights.vectors.mean(dim=0)).square().sum()
    assert 0 < codec.kept_variance < 1
    assert float(lost) == pytest.approx(1 - codec.kept_variance, abs=1e-5)


def test_as_many_components_as_there_are_lose_nothing() -> None:
    codec = PcaCodec(components=4)
    codec.fit(cloud(5))
    assert (codec.kept_variance, codec.exactness) == (1.0, "on its training checkpoints")


def test_more_components_than_there_are_are_refused() -> None:
    with pytest.raises(BadInput, match=r"(?s)components=5.*5 networks vary in 4.*at most 4"):
        PcaCodec(components=5).fit(cloud(5))


def test_networks_that_are_all_the_same_are_refused() -> None:
    same = Weights.concatenate([cloud(1)] * 3)
    for codec in (make_span(), PcaCodec(components=1)):
        with pytest.raises(BadInput, match=r"are the same.*\n.*differ"):
            codec.fit(same)
