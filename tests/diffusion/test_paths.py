"""Paths: known tables, every number of time steps, derivatives, grids, and times that differ by sample."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.diffusion import LinearFlow, Path, VariancePreserving, make_path
from weightsmith.diffusion.beta_schedules import cosine_betas, linear_betas
from weightsmith.diffusion.per_sample import per_sample
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS

PATHS = {name: make_path(name) for name in DIFFUSION_PATHS}
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def test_linear_table_of_a_thousand_steps_is_the_published_one() -> None:
    betas = linear_betas(1000)
    torch.testing.assert_close(betas, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), rtol=1e-10, atol=0)


@pytest.mark.parametrize("timesteps", [1, 2, 3, 10, 50, 999, 1000, 4096])
def test_any_number_of_time_steps_ends_in_the_same_noise(timesteps: int) -> None:
    betas = linear_betas(timesteps)
    assert len(betas) == timesteps
    assert ((betas > 0) & (betas < 1)).all()
    assert (1 - betas).prod().item() == pytest.approx((1 - linear_betas(1000)).prod().item(), rel=1e-9)
    cosine = cosine_betas(timesteps)
    assert len(cosine) == timesteps
    assert (cosine > 0).all()
    assert cosine.max() == 0.999  # the last one of this schedule would be 1, whatever their number
    assert (1 - cosine).prod() < 1.1e-3


def test_a_range_of_betas_is_taken_as_it_stands() -> None:
    assert linear_betas(5, (0.1, 0.5)).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("timesteps", [1, 7, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entries_of_the_table_are_met_also_by_times_rounded_to_float32(timesteps: int, dtype: torch.dtype) -> None:
    for path in (VariancePreserving.linear(timesteps), VariancePreserving.cosine(timesteps)):
        times = (torch.arange(timesteps, dtype=torch.float64) + 1) / timesteps
        at = path.coefficients(times.to(dtype))
        signal = (1 - path.betas).cumprod(0)
        torch.testing.assert_close(at.alpha, signal.sqrt(), rtol=1e-10, atol=0)
        torch.testing.assert_close(at.sigma, (1 - signal).sqrt(), rtol=1e-10, atol=0)


def test_between_entries_log_snr_is_linear_and_before_the_first_sigma_is() -> None:
    path = VariancePreserving.linear(10)
    at = path.coefficients(torch.tensor([0.3, 0.325, 0.4], dtype=torch.float64))
    low, between, high = at.half_log_snr.tolist()
    assert between == pytest.approx(0.75 * low + 0.25 * high, rel=1e-12)
    sigma = path.coefficients(torch.tensor([0.0, 0.02, 0.1], dtype=torch.float64)).sigma.tolist()
    assert sigma == pytest.approx([0, 0.2 * path.betas[0].sqrt().item(), path.betas[0].sqrt().item()])


@paths
def test_ends(path: Path) -> None:
    at = path.coefficients(torch.tensor([0.0, 1.0]))
    assert (at.alpha[0], at.sigma[0]) == (1, 0)
    assert at.alpha[1] < 0.01
    assert at.sigma[1] > 0.9999
    assert torch.isfinite(torch.stack([at.alpha_slope, at.sigma_slope])).all()
    assert at.half_log_snr[0] == torch.inf


@paths
@settings(max_examples=40)
@given(time=st.floats(0.0002, 0.9998))
def test_slopes_are_derivatives(path: Path, time: float) -> None:
    if abs(time * 1000 - round(time * 1000)) < 0.01:  # a kink of the table
        time += 2e-5
    step = 1e-6
    low, at, high = (path.coefficients(torch.tensor([time + d], dtype=torch.float64)) for d in (-step, 0, step))
    assert at.alpha_slope.item() == pytest.approx((high.alpha - low.alpha).item() / (2 * step), rel=1e-4, abs=1e-6)
    assert at.sigma_slope.item() == pytest.approx((high.sigma - low.sigma).item() / (2 * step), rel=1e-4, abs=1e-6)
    assert at.alpha_slope < 0 < at.sigma_slope


@given(time=st.floats(0, 1))
def test_variance_is_preserved(time: float) -> None:
    for name in ("vp-linear", "vp-cosine"):
        at = PATHS[name].coefficients(torch.tensor([time], dtype=torch.float64))
        assert (at.alpha**2 + at.sigma**2).item() == pytest.approx(1, abs=1e-12)


@paths
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 5), (4, 3, 2), (3, 3, 3), (2, 3, 4, 5), (1, 6)])
def test_each_sample_has_its_own_time(path: Path, shape: tuple[int, ...]) -> None:
    x0, noise, t = torch.randn(shape), torch.randn(shape), torch.linspace(0, 1, shape[0])
    drawn = path.sample(x0, noise, t)
    for i in range(shape[0]):
        at = path.coefficients(t[i : i + 1])
        alone = float(at.alpha) * x0[i] + float(at.sigma) * noise[i]
        torch.testing.assert_close(drawn.state[i], alone)
    assert drawn.state.dtype == torch.float32
    assert drawn.x0 is x0
    assert drawn.noise is noise
    assert drawn.t is t


@pytest.mark.parametrize("shape", [(3,), (1,), (5, 1), ()])
def test_factors_that_would_broadcast_in_silence_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"\[5, 3\]"):
        per_sample(torch.ones(shape), torch.ones(5, 3))


@paths
@settings(max_examples=40)
@given(steps=st.integers(1, 1500))
def test_grids_fall_from_one_to_zero(path: Path, steps: int) -> None:
    grid = path.grid(steps)
    assert len(grid) == steps + 1
    assert (grid[0], grid[-1]) == (1, 0)
    assert (grid.diff() < 0).all()
    torch.testing.assert_close(grid, torch.linspace(1, 0, steps + 1, dtype=torch.float64), rtol=0, atol=0.5001e-3)
    if isinstance(path, VariancePreserving) and steps <= 1000:
        torch.testing.assert_close(grid * 1000, (grid * 1000).round(), rtol=0, atol=1e-9)


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match=r"1\.5 is outside \[0, 1\]"):
        LinearFlow().coefficients(torch.tensor([0.5, 1.5]))
    with pytest.raises(BadInput, match="nan is outside"):
        LinearFlow().coefficients(torch.tensor([torch.nan]))
    with pytest.raises(BadInput, match="0 steps"):
        LinearFlow().grid(0)
    with pytest.raises(BadInput, match="timesteps=0"):
        make_path("vp-cosine", timesteps=0)
    with pytest.raises(BadInput, match="vp-cosine"):
        make_path("cosine")
    with pytest.raises(BadInput, match="betas"):
        VariancePreserving(torch.tensor([0.1, 1.0]))


def test_a_shift_keeps_both_ends_and_moves_the_stops_between_towards_noise() -> None:
    stops = LinearFlow(shift=4.0).grid(5)
    assert (float(stops[0]), float(stops[-1])) == (1, 0)
    assert bool((stops.diff() < 0).all())
    even = LinearFlow().grid(5)
    assert torch.allclose(torch.logit(stops[1:-1]) - torch.logit(even[1:-1]), torch.tensor(4.0).double().log())
    with pytest.raises(BadInput, match="shift=0"):
        LinearFlow(shift=0.0)
