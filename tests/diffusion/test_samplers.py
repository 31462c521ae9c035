"""Samplers: one contract for all, closed forms on Gaussian data, orders of convergence, and laws between them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from gaussian_data import COVARIANCE, DIM, MEAN, best_pair, flow_map, marginal
from torch import Tensor

from weightsmith.diffusion import (
    Denoised,
    LinearFlow,
    Path,
    Sampler,
    Step,
    Transition,
    VariancePreserving,
    log_prob,
    make_path,
    make_sampler,
    take_step,
)
from weightsmith.diffusion.samplers.sampler import Predict
from weightsmith.diffusion.transition import Multistep
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS, SAMPLERS

PATHS = {name: make_path(name, **({} if name == "flow" else {"timesteps": 1024})) for name in DIFFUSION_PATHS}
VARIANTS = {
    "ddpm": make_sampler("ddpm"),
    "ddpm-large": make_sampler("ddpm", variance="large"),
    "ddim": make_sampler("ddim"),
    "ddim-half": make_sampler("ddim", eta=0.5),
    "ddim-full": make_sampler("ddim", eta=1.0),
    "dpm-solver": make_sampler("dpm-solver"),
    "euler": make_sampler("euler"),
    "heun": make_sampler("heun"),
    "flow-sde": make_sampler("flow-sde"),
}
STOCHASTIC = {"ddpm", "ddpm-large", "ddim-half", "ddim-full", "flow-sde"}
PAIRS = [(s, p) for s in VARIANTS for p in PATHS if s != "flow-sde" or p == "flow"]
pairs = pytest.mark.parametrize(("name", "path_name"), PAIRS)


def push(sampler: Sampler, path: Path, times: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance after a run from `N(mean, covariance)`, exactly.

    With the best denoiser of Gaussian data every step is affine plus its own noise; the images of the origin and of the
    unit vectors give the affine map.
    """
    basis, memory = torch.cat([torch.zeros(1, DIM), torch.eye(DIM)]).double(), None
    x = basis
    for t, next_t in pairwise(times):
        moved = advance(sampler, path, x, t, next_t, memory)
        x, memory = moved.mean, moved.memory
        if moved.std is not None:  # such a sampler has no memory: settle each step by itself
            mean, covariance = x[0] + mean @ (x[1:] - x[0]), (x[1:] - x[0]).T @ covariance @ (x[1:] - x[0])
            x, covariance = basis, covariance + moved.std[0] ** 2 * torch.eye(DIM, dtype=torch.float64)
    return x[0] + mean @ (x[1:] - x[0]), (x[1:] - x[0]).T @ covariance @ (x[1:] - x[0])


def advance(sampler: Sampler, path: Path, x: Tensor, t: Tensor, next_t: Tensor, memory: Multistep | None) -> Transition:
    batch = len(x)
    return sampler.transition(
        lambda x, t: best_pair(path, x, t), x, t.expand(batch), next_t.expand(batch), path, memory
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_registered_sampler_is_in_the_tables(name: str) -> None:
    assert any(type(make_sampler(name)) is type(variant) for variant in VARIANTS.values())
    assert isinstance(make_sampler(name), Sampler)


@pairs
def test_data_distribution_is_reached(name: str, path_name: str) -> None:
    path, errors = PATHS[path_name], []
    for steps in (10, 64):
        start = torch.zeros(DIM).double(), torch.eye(DIM, dtype=torch.float64)
        mean, covariance = push(VARIANTS[name], path, path.grid(steps), *start)
        errors.append(float((mean - MEAN).norm() + (covariance - COVARIANCE).norm()))
    assert errors[1] < 0.1
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm-solver", 2)])
def test_deterministic_samplers_converge_at_their_order(name: str, order: int, path_name: str) -> None:
    path, errors = PATHS[path_name], []
    x = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start, end = 0.75, 0.25
    for steps in (24, 48, 96):
        state, memory = x, None
        for t, next_t in pairwise(torch.linspace(start, end, steps + 1, dtype=torch.float64)):
            step = advance(VARIANTS[name], path, state, t, next_t, memory)
            state, memory = step.mean, step.memory
        errors.append(float((state - flow_map(path, x, start, end)).norm()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(("name", "path_name"), [(s, p) for s, p in PAIRS if s in STOCHASTIC])
def test_one_step_of_a_stochastic_sampler_keeps_the_marginal(name: str, path_name: str) -> None:
    path = PATHS[path_name]
    mean, covariance = push(VARIANTS[name], path, torch.tensor([0.51, 0.5]).double(), *marginal(path, 0.51))
    expected_mean, expected = marginal(path, 0.5)
    moved = (marginal(path, 0.51)[1] - expected).norm()
    torch.testing.assert_close(mean, expected_mean, rtol=0, atol=1e-3)
    assert (covariance - expected).norm() < 0.15 * moved


def predict_from(path: Path) -> Predict:
    return lambda x, t: Denoised(torch.tanh(x), x - 0.5 * torch.tanh(x))


@pairs
def test_samples_of_a_batch_do_not_meet(name: str, path_name: str) -> None:
    """Times that differ by sample give each what it would get alone; a batch as large as its other dimensions."""
    sampler, path = VARIANTS[name], PATHS[path_name]
    x = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))
    t, next_t = torch.tensor([1.0, 0.75, 0.5, 0.25]).double(), torch.tensor([0.5, 0.625, 0.25, 0.0]).double()
    together = sampler.transition(predict_from(path), x, t, next_t, path)
    for i in range(4):
        one = slice(i, i + 1)
        alone = sampler.transition(predict_from(path), x[one], t[one], next_t[one], path)
        torch.testing.assert_close(together.mean[one], alone.mean)
        if alone.std is not None:
            assert together.std is not None
            torch.testing.assert_close(together.std[one], alone.std)


@pairs
@pytest.mark.parametrize("shape", [(3, 2), (3, 5, 2)])
def test_a_step_states_how_it_was_drawn(name: str, path_name: str, shape: tuple[int, ...]) -> None:
    sampler, path = VARIANTS[name], PATHS[path_name]
    x, predict = torch.randn(shape), predict_from(path)
    t, next_t = torch.tensor([1.0, 0.5, 0.25]), torch.tensor([0.75, 0.25, 0.0])

    def step(seed: int) -> Step:
        return take_step(sampler, predict, x, t, next_t, path, torch.Generator().manual_seed(seed))

    one, again, other = step(0), step(0), step(1)
    assert torch.equal(one.next_state, again.next_state)
    assert torch.isfinite(one.next_state).all()
    assert one.next_state.dtype == torch.float32
    assert sampler.stochastic == (name in STOCHASTIC) == (one.std is not None) == (one.log_prob is not None)
    if one.std is None:
        assert torch.equal(one.next_state, other.next_state)
        assert torch.equal(one.next_state, one.mean)
        return
    assert (one.std[:2] > 0).all()
    assert one.std[2] == 0  # onto clean data
    assert torch.equal(one.next_state[2], one.mean[2])
    again_there = sampler.transition(predict, x, t, next_t, path)
    torch.testing.assert_close(log_prob(again_there, one.next_state), one.log_prob)
    assert one.log_prob is not None
    assert one.log_prob[2] == 0


def test_draws_have_the_stated_mean_and_deviation() -> None:
    path, x = LinearFlow(), torch.zeros(2, 50_000)
    t, next_t = torch.tensor([0.8, 0.4]), torch.tensor([0.6, 0.3])
    rng = torch.Generator().manual_seed(0)
    step = take_step(VARIANTS["flow-sde"], predict_from(path), x, t, next_t, path, rng)
    assert step.std is not None
    z = (step.next_state - step.mean) / step.std[:, None].float()
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(2), rtol=0, atol=0.02)
    torch.testing.assert_close(z.std(dim=1), torch.ones(2), rtol=0, atol=0.02)


def test_the_gradient_of_a_step_s_log_probability_is_the_score_of_its_mean() -> None:
    path, gain = LinearFlow(), torch.tensor(0.5, requires_grad=True)
    x, t, next_t = torch.randn(2, 3), torch.tensor([0.8, 0.4]), torch.tensor([0.6, 0.3])
    step = take_step(
        VARIANTS["flow-sde"],
        lambda x, t: Denoised(gain * x, x - gain * x),
        x,
        t,
        next_t,
        path,
        torch.Generator().manual_seed(0),
    )
    assert step.log_prob is not None
    assert step.std is not None
    (found,) = torch.autograd.grad(step.log_prob.sum(), gain, retain_graph=True)
    score = ((step.next_state - step.mean) / step.std[:, None] ** 2).detach().float()
    (expected,) = torch.autograd.grad(step.mean, gain, score, retain_graph=True)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(step.next_state.sum(), gain)[0] != 0


@pytest.mark.parametrize("path_name", PATHS)
def test_laws_between_samplers(path_name: str) -> None:
    path = PATHS[path_name]
    x = torch.randn(3, 2, dtype=torch.float64)
    pair = Denoised(torch.tanh(x), torch.zeros_like(x))
    t, next_t = torch.tensor([0.9, 0.5, 0.2]).double(), torch.tensor([0.5, 0.25, 0.0]).double()
    at = path.coefficients(t).over(x)
    pair = Denoised(pair.x0, (x - at.alpha * pair.x0) / at.sigma)  # what a denoiser says agrees with its state
    made = {
        name: s.transition(lambda x, t: pair, x, t, next_t, path) for name, s in VARIANTS.items() if "sde" not in name
    }
    for name in ("euler", "dpm-solver"):  # one step of a first-order sampler is DDIM on any path
        torch.testing.assert_close(made[name].mean, made["ddim"].mean)
    torch.testing.assert_close(made["ddim-full"].mean, made["ddpm"].mean)
    assert made["ddim-full"].std is not None
    torch.testing.assert_close(made["ddim-full"].std, made["ddpm"].std)
    torch.testing.assert_close(2 * made["ddim-half"].std, made["ddpm"].std)  # type: ignore[operator]


def test_flow_sde_is_the_published_formula() -> None:
    """Flow-GRPO's update, written in the velocity; at its first step 1 - s stands for 1 - t."""
    path, a = LinearFlow(), 0.7
    x, u = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    t, s = torch.tensor([1.0, 0.6, 0.3]).double(), torch.tensor([0.9, 0.5, 0.1]).double()
    step = make_sampler("flow-sde", noise_level=a).transition(
        lambda x, t: Denoised(x - t[:, None] * u, x + (1 - t[:, None]) * u), x, t, s, path
    )
    g = a * (t / torch.tensor([1 - 0.9, 1 - 0.6, 1 - 0.3]).double()).sqrt()
    drift = u + (g**2 / (2 * t))[:, None] * (x + (1 - t)[:, None] * u)
    torch.testing.assert_close(step.mean, x + drift * (s - t)[:, None], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(step.std, g * (t - s).sqrt(), rtol=1e-6, atol=1e-6)


def test_multistep_memory_is_explicit() -> None:
    path, sampler = VariancePreserving.linear(100), VARIANTS["dpm-solver"]
    x, predict = torch.randn(2, 3), predict_from(path)  # its data depend on the state alone
    t, next_t = torch.tensor([0.5, 0.4]), torch.tensor([0.4, 0.3])
    first = sampler.transition(predict, x, t + 0.1, t, path)
    sampler.transition(predict, x + 1, t, next_t, path, first.memory)
    fresh = sampler.transition(predict, x, t, next_t, path)
    assert fresh.memory is not None
    assert torch.equal(fresh.memory.x0, torch.tanh(x))
    told_the_same = sampler.transition(predict, x, t, next_t, path, first.memory)
    assert torch.equal(told_the_same.mean, fresh.mean)  # the same data twice: nothing to extrapolate
    other = sampler.transition(predict, x + 1, t + 0.1, t, path).memory
    assert not torch.allclose(sampler.transition(predict, x, t, next_t, path, other).mean, fresh.mean)


def test_bad_input_is_named() -> None:
    path, x, rng = VariancePreserving.linear(), torch.zeros(2, 1), torch.Generator()
    t = torch.tensor([0.5, 0.5])
    with pytest.raises(BadInput, match="nearest: ddim"):
        make_sampler("dimm")
    with pytest.raises(BadInput, match="no option 'etta'"):
        make_sampler("ddim", etta=1)
    with pytest.raises(BadInput, match="eta=2"):
        make_sampler("ddim", eta=2.0)
    with pytest.raises(BadInput, match="noise_level=0"):
        make_sampler("flow-sde", noise_level=0.0)
    with pytest.raises(BadInput, match="linear flow"):
        VARIANTS["flow-sde"].transition(lambda x, t: Denoised(x, x), x, t, t / 2, path)
    with pytest.raises(BadInput, match="earlier time"):
        take_step(VARIANTS["ddim"], lambda x, t: Denoised(x, x), x, t, torch.tensor([0.4, 0.5]), path, rng)
