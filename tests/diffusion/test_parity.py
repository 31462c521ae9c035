"""Parity: the same states as diffusers' schedulers, step by step, to float32 accuracy."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from torch import Tensor

from weightsmith.diffusion import LinearFlow, Path, Prediction, Sampler, VariancePreserving, make_sampler, sample

SHAPE = (3, 4, 2)
KINDS: dict[Prediction, str] = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}
TABLES = {"linear": VariancePreserving.linear, "cosine": VariancePreserving.cosine}
DIFFUSERS_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}

kinds = pytest.mark.parametrize("kind", KINDS)
tables = pytest.mark.parametrize("table", TABLES)


def network(x: Tensor, t: Tensor) -> Tensor:
    """Any smooth function that mixes dimensions; `t` is ours."""
    time = t.to(x).reshape(-1, *[1] * (x.ndim - 1))
    return torch.tanh(1.3 * x + time) + 0.2 * x.flip(-1)


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))


def fairly(scheduler: Any, table: str) -> Any:
    """A scheduler as it comes; but a cosine table, where `1 - 0.999` loses digits in float32, is given in float64."""
    if table == "cosine":
        exact = (1 - TABLES[table](1000).betas).cumprod(0)
        torch.testing.assert_close(scheduler.alphas_cumprod, exact.float(), rtol=1e-4, atol=1e-6)
        scheduler.alphas_cumprod = exact
    return scheduler


def ours(path: Path, kind: Prediction, sampler: Sampler, steps: int | Tensor) -> list[Tensor]:
    rng = torch.Generator().manual_seed(7)
    made = sample(network, start(), path=path, prediction=kind, sampler=sampler, steps=steps, rng=rng, keep="all")
    return list(made.states[1:])


def theirs(scheduler: Any, steps: int, unit: float, **options: Any) -> list[Tensor]:
    """The states after each step; `unit` turns their time steps into our times: `t = (step + 1) / unit`."""
    scheduler.set_timesteps(steps)
    x, states = start(), []
    for step in scheduler.timesteps:
        output = network(x, torch.full((SHAPE[0],), (float(step) + 1) / unit))
        x = scheduler.step(output, step, x, **options).prev_sample
        states.append(x)
    return states


def options_of(table: str, kind: Prediction) -> dict[str, Any]:
    return {
        "num_train_timesteps": 1000,
        "beta_schedule": DIFFUSERS_NAMES[table],
        "prediction_type": KINDS[kind],
        "timestep_spacing": "trailing",
    }


def agree(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-5) -> None:
    """To float32 accuracy, relative to the largest number of each state."""
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance * float(other.abs().max()))


@tables
def test_tables(table: str) -> None:
    for timesteps in (1000,) if table == "linear" else (10, 1000):
        scheduler = DDPMScheduler(timesteps, beta_schedule=DIFFUSERS_NAMES[table])
        torch.testing.assert_close(TABLES[table](timesteps).betas.float(), scheduler.betas, rtol=1e-5, atol=1e-7)


@kinds
@tables
@pytest.mark.parametrize("steps", [7, 25])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm(table: str, kind: Prediction, steps: int, variance: Literal["small", "large"]) -> None:
    scheduler = DDPMScheduler(**options_of(table, kind), clip_sample=False, variance_type=f"fixed_{variance}")
    expected = theirs(fairly(scheduler, table), steps, 1000, generator=torch.Generator().manual_seed(7))
    found = ours(TABLES[table](1000), kind, make_sampler("ddpm", variance=variance), steps)
    if variance == "large":  # theirs adds noise in the last step too, unless it is table entry 0
        found, expected = found[:-1], expected[:-1]
    agree(found, expected)


@kinds
@tables
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim(table: str, kind: Prediction, eta: float) -> None:
    scheduler = DDIMScheduler(**options_of(table, kind), clip_sample=False)
    expected = theirs(fairly(scheduler, table), 20, 1000, eta=eta, generator=torch.Generator().manual_seed(7))
    agree(ours(TABLES[table](1000), kind, make_sampler("ddim", eta=eta), 20), expected)


@kinds
@tables
@pytest.mark.parametrize("steps", [8, 20])
def test_dpm_solver(table: str, kind: Prediction, steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(**options_of(table, kind), algorithm_type="dpmsolver++", solver_order=2)
    expected = theirs(fairly(scheduler, table), steps, 1000)
    agree(ours(TABLES[table](1000), kind, make_sampler("dpm-solver"), steps), expected)


def test_a_range_of_betas_over_other_numbers_of_time_steps() -> None:
    scheduler = DDPMScheduler(60, beta_start=1e-3, beta_end=0.1, clip_sample=False, timestep_spacing="trailing")
    expected = theirs(scheduler, 60, 60, generator=torch.Generator().manual_seed(7))
    agree(ours(VariancePreserving.linear(60, (1e-3, 0.1)), "noise", make_sampler("ddpm"), 60), expected)


def test_flow_euler() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(12)
    expected = theirs_flow(scheduler, 12)
    agree(ours(LinearFlow(), "velocity", make_sampler("euler"), scheduler.sigmas.double()), expected)


def test_flow_heun() -> None:
    scheduler = FlowMatchHeunDiscreteScheduler()
    expected = theirs_flow(scheduler, 12)
    times = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2], scheduler.sigmas[-1:]]).double()
    # Theirs makes two calls a step, all but the last: every second state is ours.
    agree(ours(LinearFlow(), "velocity", make_sampler("heun"), times), [*expected[1::2], expected[-1]])


def theirs_flow(scheduler: Any, steps: int) -> list[Tensor]:
    scheduler.set_timesteps(steps)
    x, states = start(), []
    for step in scheduler.timesteps:
        x = scheduler.step(network(x, torch.full((SHAPE[0],), float(step) / 1000)), step, x).prev_sample
        states.append(x)
    return states
