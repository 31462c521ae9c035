"""The autoencoder: never worse than PCA of tokens on what it has not seen, and the same whenever it is made."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from weightsmith.codecs.autoencoder import AutoencoderCodec
from weightsmith.codecs.principal import principal_axes
from weightsmith.codecs.unit import UnitCodec
from weightsmith.errors import BadInput
from weightsmith.layout import Layout, Weights

LAYOUT = Layout.of(nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 6, bias=False)))


def curved(count: int, seed: int = 0) -> Weights:
    """Networks whose first-layer units lie on a curve in six dimensions: one number a unit, not linear in it."""
    rng = torch.Generator().manual_seed(seed)
    angle = torch.rand(count, 40, generator=rng) * 5
    rows = torch.stack([f(k * angle) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=2)
    return Weights.generated(LAYOUT, torch.cat([rows[..., :5].flatten(1), rows[..., 5], torch.ones(count, 240)], dim=1))


def linear_error(weights: Weights, unseen: Weights, latent: int) -> float:
    """Mean squared error of PCA of unit tokens, as the autoencoder's start is."""
    units = UnitCodec(width=6)
    units.fit(weights)
    space = units.space()
    found = principal_axes(units.encode(weights).values.flatten(0, 1).double(), latent)
    values = units.encode(unseen).values.flatten(0, 1).double() - found.mean
    residual = values - values @ found.axes.T @ found.axes
    return float(residual.square()[space.valid.repeat(len(unseen), 1)].mean())


def test_it_starts_from_the_pca_of_tokens() -> None:
    weights = curved(10)
    codec = AutoencoderCodec(latent=2, width=6, epochs=0)
    codec.fit(weights)
    assert codec.held_out_error == pytest.approx(linear_error(weights[:9], weights[9:], 2), rel=1e-4)


def test_it_learns_what_is_not_linear() -> None:
    weights = curved(20)
    codec = AutoencoderCodec(latent=2, width=6, hidden=(64,), epochs=30, held_out=0.2, learning_rate=3e-3)
    codec.fit(weights)
    assert codec.held_out_error < 0.6 * linear_error(weights[:16], weights[16:], 2)
    fresh = curved(3, seed=7)
    decoded = codec.decode(codec.encode(fresh), LAYOUT).vectors[:, :240]
    mean = fresh.vectors[:, :240].mean(dim=0)
    assert (decoded - fresh.vectors[:, :240]).square().mean() < 0.5 * (fresh.vectors[:, :240] - mean).square().mean()


def test_training_that_does_harm_is_not_kept() -> None:
    weights = curved(10)
    start, harmed = (AutoencoderCodec(latent=2, width=6, epochs=n, learning_rate=1.0) for n in (0, 2))
    start.fit(weights)
    harmed.fit(weights)
    assert harmed.held_out_error == start.held_out_error


def test_held_out_networks_are_the_last_and_not_trained_on() -> None:
    weights = curved(10)
    changed = weights.replace(weights.vectors.clone())
    changed.vectors[8:] *= 1.5
    codecs = [AutoencoderCodec(latent=2, width=6, epochs=0, held_out=0.2) for _ in range(2)]
    for codec, given in zip(codecs, (weights, changed), strict=True):
        codec.fit(given)
    first, second = (codec.tensors() for codec in codecs)
    assert all(torch.equal(first[name], second[name]) for name in first if name != "held_out_error")
    assert codecs[0].held_out_error < codecs[1].held_out_error


def test_without_held_out_networks_the_error_is_unknown_and_the_last_epoch_stands() -> None:
    codec = AutoencoderCodec(latent=2, width=6, epochs=1, held_out=0.0)
    codec.fit(curved(2))
    assert math.isnan(codec.held_out_error)


def made(seed: int) -> dict[str, Tensor]:
    torch.rand(3)  # what stands in the global generator is neither read nor changed
    before = torch.get_rng_state()
    codec = AutoencoderCodec(latent=2, width=6, epochs=3, noise=0.1, seed=seed)
    codec.fit(curved(6))
    assert torch.equal(torch.get_rng_state(), before)
    return codec.tensors()


def test_it_is_drawn_from_its_seed() -> None:
    first, again, other = made(1), made(1), made(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_latents_of_training_networks_have_mean_zero_and_deviation_one() -> None:
    weights = curved(6)
    codec = AutoencoderCodec(latent=3, width=6, epochs=2, held_out=0.0)
    codec.fit(weights)
    values = codec.encode(weights).values.flatten(0, 1)
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_noise_on_latents_makes_decoding_smoother() -> None:
    weights = curved(12)
    slopes = []
    for noise in (0.0, 1.0):
        codec = AutoencoderCodec(latent=2, width=6, hidden=(64,), epochs=15, noise=noise, held_out=0.0)
        codec.fit(weights)
        tokens = codec.encode(weights)
        moved = tokens.replace(tokens.values + 0.1 * torch.randn(tokens.values.shape).sign())
        change = codec.decode(moved, LAYOUT).vectors - codec.decode(tokens, LAYOUT).vectors
        slopes.append(float(change.square().mean()))
    assert slopes[1] < slopes[0]


def test_it_is_the_same_in_use_however_often_and_has_no_gradients_of_its_own() -> None:
    weights = curved(4)
    codec = AutoencoderCodec(latent=2, width=6, epochs=1, noise=0.5)
    codec.fit(weights)
    assert torch.equal(codec.encode(weights).values, codec.encode(weights).values)
    decoded = codec.decode(codec.encode(weights), LAYOUT).vectors
    assert torch.equal(decoded, codec.decode(codec.encode(weights), LAYOUT).vectors)
    assert not decoded.requires_grad


def test_a_latent_wider_than_a_token_is_refused() -> None:
    with pytest.raises(BadInput, match=r"(?s)latent=7.*6 numbers of a token.*at most 6"):
        AutoencoderCodec(latent=7, width=6).fit(curved(4))
