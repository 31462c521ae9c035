"""The loop: what it keeps, what it is reproducible by, where gradients flow, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from weightsmith.diffusion import Path, Prediction, Samples, convert, make_path, make_sampler, sample
from weightsmith.diffusion.predictions import PREDICTIONS
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS, SAMPLERS

SHAPE = (4, 3, 5)
PATHS = {name: make_path(name) for name in DIFFUSION_PATHS}


def to_data(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser that says `x0`, different at every time and dimension."""
    return torch.tanh(x) * (1 - 0.5 * t.reshape(-1, *[1] * (x.ndim - 1))) + 0.1 * x.flip(-1)


def run(sampler: str = "ddim", path: Path = PATHS["flow"], seed: int = 0, **options: object) -> Samples:
    arguments = {"denoise": to_data, "start": SHAPE, "prediction": "x0", "steps": 5} | options
    return sample(
        path=path,
        sampler=make_sampler(sampler),
        rng=torch.Generator().manual_seed(seed),
        **arguments,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_states_or_the_last(name: str) -> None:
    whole, last = run(name, keep="all"), run(name)
    assert len(whole.states) == len(whole.times) == 6
    assert len(whole.steps) == 5
    assert (len(last.states), last.steps) == (1, ())
    assert torch.equal(whole.final, last.final)
    for before, step in zip(whole.states[1:], whole.steps, strict=True):
        assert torch.equal(step.next_state, before)
        assert step.memory is None
    if make_sampler(name).stochastic:
        assert all(step.log_prob is not None and step.log_prob.shape == (4,) for step in whole.steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_generator_is_the_only_randomness(name: str) -> None:
    torch.manual_seed(1)
    one = run(name, seed=3).final
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert torch.equal(run(name, seed=3).final, one)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(run(name, seed=4).final, one)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_kind_of_prediction_does_not_change_the_samples(path: Path, kind: Prediction) -> None:
    times = torch.linspace(0.95, 0, 8, dtype=torch.float64)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def said_otherwise(x: Tensor, t: Tensor) -> Tensor:
        return convert(to_data(x, t), x, t, path, source="x0", target=kind)

    for name in ("ddpm", "heun", "dpm-solver"):
        expected = run(name, path, start=start, steps=times).final
        found = run(name, path, start=start, steps=times, denoise=said_otherwise, prediction=kind).final
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_network_sees_states_and_one_time_a_sample() -> None:
    seen = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x.shape, x.dtype, t.shape, t.dtype, float(t[0])))
        return x

    run(denoise=denoise)
    assert [entry[:4] for entry in seen] == [(SHAPE, torch.float32, (4,), torch.float32)] * 5
    assert [entry[4] for entry in seen] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(("name", "calls"), [("heun", 9), ("dpm-solver", 5), ("ddpm", 5)])
def test_evaluations_of_the_network(name: str, calls: int) -> None:
    count = 0

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal count
        count += 1
        assert (t > 0).all()
        return x

    run(name, denoise=denoise)
    assert count == calls


@pytest.mark.parametrize("kept", [None, 5, 2, 0])
def test_gradients_flow_through_as_many_steps_as_asked(kept: int | None) -> None:
    gains = torch.ones(5, requires_grad=True)
    calls = 0

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.tanh(x) * gains[calls - 1]

    final = run(denoise=denoise, differentiable_steps=kept).final
    if kept == 0:
        assert not final.requires_grad
        return
    final.sum().backward()
    assert gains.grad is not None
    expected = 5 if kept is None else kept
    assert (gains.grad != 0).tolist() == [False] * (5 - expected) + [True] * expected


def test_the_callers_no_grad_is_kept() -> None:
    gain = torch.ones((), requires_grad=True)
    with torch.no_grad():
        assert not run(denoise=lambda x, t: gain * x, differentiable_steps=3).final.requires_grad


def test_gradient_is_that_of_finite_differences() -> None:
    start = torch.randn(2, 3, dtype=torch.float64)

    def final(gain: Tensor) -> Tensor:
        return run("flow-sde", denoise=lambda x, t: gain * torch.tanh(x), start=start, steps=4).final

    assert torch.autograd.gradcheck(final, torch.tensor(0.7, dtype=torch.float64, requires_grad=True))


def test_nothing_is_clipped_unless_asked() -> None:
    wide = run(denoise=lambda x, t: torch.full_like(x, 100.0)).final
    torch.testing.assert_close(wide, torch.full(SHAPE, 100.0))
    torch.testing.assert_close(run(denoise=lambda x, t: x + 100, clip=1.5).final, torch.full(SHAPE, 1.5))


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="0 steps"):
        run(steps=0)
    with pytest.raises(BadInput, match="do not fall"):
        run(steps=torch.tensor([1.0, 0.5, 0.5, 0.0]))
    with pytest.raises(BadInput, match="do not fall"):
        run(steps=torch.tensor([1.5, 0.5]))
    with pytest.raises(BadInput, match=r"noise was asked for at time 0\.5"):
        run(steps=torch.tensor([0.5, 0.0]))
    with pytest.raises(BadInput, match="linear flow"):
        run("flow-sde", PATHS["vp-linear"])
