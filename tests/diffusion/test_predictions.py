"""Predictions: every kind says the same, there and back, at every time; nothing is NaN at the ends."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.diffusion import Denoised, LinearFlow, Path, Prediction, convert, denoised, make_path, output_of
from weightsmith.diffusion.predictions import PREDICTIONS, clip_x0
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS

PATHS = {name: make_path(name) for name in DIFFUSION_PATHS}
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
kinds = pytest.mark.parametrize("kind", PREDICTIONS)


def point(path: Path, t: torch.Tensor) -> tuple[torch.Tensor, Denoised]:
    rng = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn(len(t), 3, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    return path.sample(x0, noise, t).state, Denoised(x0, noise)


@paths
@kinds
def test_data_and_noise_are_recovered(path: Path, kind: Prediction) -> None:
    t = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    x, pair = point(path, t)
    found = denoised(kind, output_of(kind, pair, t, path), x, t, path)
    torch.testing.assert_close(found.x0, pair.x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.noise, pair.noise, rtol=1e-8, atol=1e-8)


@paths
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(PREDICTIONS, 2)))
@settings(max_examples=10)
@given(time=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_conversions_have_inverses(path: Path, source: Prediction, target: Prediction, time: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    x, output = (torch.randn(2, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    t = torch.full((2,), time, dtype=torch.float64)
    there = convert(output, x, t, path, source=source, target=target)
    back = convert(there, x, t, path, source=target, target=source)
    torch.testing.assert_close(back, output, rtol=1e-7, atol=1e-7)
    assert not torch.allclose(there, output)


@paths
def test_definitions(path: Path) -> None:
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    _, pair = point(path, t)
    at = path.coefficients(t).over(pair.x0)
    step = 1e-6
    later, earlier = (path.sample(pair.x0, pair.noise, t + d + 1e-4).state for d in (step, -step))
    torch.testing.assert_close(
        output_of("velocity", pair, t + 1e-4, path), (later - earlier) / (2 * step), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(output_of("v", pair, t, path), at.alpha * pair.noise - at.sigma * pair.x0)
    assert torch.equal(output_of("noise", pair, t, path), pair.noise)
    assert torch.equal(output_of("x0", pair, t, path), pair.x0)
    if isinstance(path, LinearFlow):
        torch.testing.assert_close(output_of("velocity", pair, t, path), pair.noise - pair.x0)


@paths
@kinds
def test_ends_hold_what_is_determined_and_zero_for_the_rest(path: Path, kind: Prediction) -> None:
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x, pair = point(path, t)
    found = denoised(kind, output_of(kind, pair, t, path), x, t, path)
    no_signal, no_noise = bool(path.coefficients(t).alpha[1] == 0), True
    expected_x0, expected_noise = pair.x0.clone(), pair.noise.clone()
    if kind == "noise" and no_signal:
        expected_x0[1] = 0
    if kind == "x0" and no_noise:
        expected_noise[0] = 0
    torch.testing.assert_close(found.x0, expected_x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found.noise, expected_noise, rtol=1e-7, atol=1e-7)


@paths
@kinds
def test_gradients_are_finite_at_the_ends(path: Path, kind: Prediction) -> None:
    t = torch.tensor([0.0, 1.0])
    output, x = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    found = denoised(kind, output, x, t, path)
    (found.x0.sum() + found.noise.sum()).backward()
    assert output.grad is not None
    assert x.grad is not None
    assert torch.isfinite(output.grad).all()
    assert torch.isfinite(x.grad).all()


def test_nothing_is_clipped_unless_asked() -> None:
    path, t = LinearFlow(), torch.tensor([0.5, 0.5])
    x = torch.tensor([[1.0], [1.0]])
    pair = denoised("x0", torch.tensor([[50.0], [0.5]]), x, t, path)
    assert pair.x0.tolist() == [[50], [0.5]]
    clipped = clip_x0(pair, 2.0, x, t, path)
    assert clipped.x0.tolist() == [[2], [0.5]]
    torch.testing.assert_close(0.5 * clipped.x0 + 0.5 * clipped.noise, x)
    with pytest.raises(BadInput, match="clip=0"):
        clip_x0(pair, 0.0, x, t, path)


def test_a_network_in_low_precision_leaves_the_states_as_they_are() -> None:
    path, t = LinearFlow(), torch.tensor([0.5])
    assert (
        denoised("noise", torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, 2), t, path).x0.dtype == torch.float32
    )
