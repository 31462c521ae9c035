"""Guidance and clamping: exact at their ends, and given numbers stay given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from weightsmith.diffusion import (
    Clamp,
    ClassifierFreeGuidance,
    LinearFlow,
    Path,
    Prediction,
    combine_guidance,
    convert,
    log_prob,
    make_path,
    make_sampler,
    sample,
)
from weightsmith.diffusion.predictions import PREDICTIONS
from weightsmith.diffusion.transition import Transition
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DIFFUSION_PATHS, SAMPLERS

SHAPE = (4, 3, 5)
MANY = (40, 3, 5)
PATHS = {name: make_path(name) for name in DIFFUSION_PATHS}
PAIRS = [(s, p) for s in SAMPLERS for p in PATHS if s != "flow-sde" or p == "flow"]


def test_scale_one_is_conditional_and_zero_unconditional() -> None:
    unconditional, conditional = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.equal(combine_guidance(unconditional, conditional, 1.0), conditional)
    assert torch.equal(combine_guidance(unconditional, conditional, 0.0), unconditional)
    expected = unconditional + 2.5 * (conditional - unconditional)
    torch.testing.assert_close(combine_guidance(unconditional, conditional, 2.5), expected)


def test_each_sample_may_have_its_scale() -> None:
    unconditional, conditional = torch.randn(4, 4, 4), torch.randn(4, 4, 4)
    scales = torch.tensor([0.0, 1.0, 2.0, 5.0])
    together = combine_guidance(unconditional, conditional, scales)
    for i, scale in enumerate(scales.tolist()):
        torch.testing.assert_close(together[i], combine_guidance(unconditional[i], conditional[i], scale))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_combining_outputs_is_combining_denoised_data(path: Path, kind: Prediction) -> None:
    x, one, two = (torch.randn(SHAPE, dtype=torch.float64) for _ in range(3))
    t = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    outputs = convert(combine_guidance(one, two, 3.0), x, t, path, source=kind, target="x0")
    data = combine_guidance(*(convert(o, x, t, path, source=kind, target="x0") for o in (one, two)), 3.0)
    torch.testing.assert_close(outputs, data)


@pytest.mark.parametrize(("scale", "asked"), [(1.0, ["yes"]), (0.0, ["no"]), (2.0, ["no", "yes"])])
def test_a_network_without_part_in_the_result_is_not_asked(scale: float, asked: list[str]) -> None:
    calls: list[str] = []

    def network(name: str, value: float):  # type: ignore[no-untyped-def]
        def denoise(x: Tensor, t: Tensor) -> Tensor:
            calls.append(name)
            return torch.full_like(x, value)

        return denoise

    guided = ClassifierFreeGuidance(network("yes", 2.0), network("no", 1.0), scale)
    assert (guided(torch.zeros(SHAPE), torch.zeros(4)) == 1 + scale).all()
    assert calls == asked


def shrink(x: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x.flip(-1)


@pytest.mark.parametrize(
    ("name", "path_name"), [(s, p) for s in SAMPLERS for p in PATHS if s != "flow-sde" or p == "flow"]
)
@pytest.mark.parametrize("known_shape", [(3, 5), (5,), (40, 3, 5), (3, 1)])
def test_given_numbers_end_as_given_and_follow_the_path(
    name: str, path_name: str, known_shape: tuple[int, ...]
) -> None:
    rng = torch.Generator().manual_seed(0)
    known = torch.rand(known_shape, generator=rng) > 0.5
    values = torch.where(known.expand(MANY)[0], torch.randn(MANY[1:], generator=rng), torch.nan)
    if known.ndim == 3:
        values = torch.where(known, torch.randn(MANY, generator=rng), torch.nan)
    made = sample(
        shrink,
        MANY,
        path=PATHS[path_name],
        prediction="x0",
        sampler=make_sampler(name),
        steps=6,
        rng=rng,
        clamp=Clamp(values, known),
        keep="all",
    )
    where = known.expand(MANY)
    assert torch.equal(made.final[where], values.expand(MANY)[where])
    assert all(torch.isfinite(state).all() for state in made.states)
    at = PATHS[path_name].coefficients(made.times)
    noises = [
        (state - float(at.alpha[k]) * values.expand(MANY))[where] / float(at.sigma[k])
        for k, state in enumerate(made.states[:-1])
    ]
    fixed = torch.allclose(noises[1], noises[2], atol=1e-3)
    assert fixed == (not make_sampler(name).stochastic)
    assert all(0.8 < float(noise.std()) < 1.2 for noise in noises)


def test_given_numbers_do_not_count_in_log_probabilities() -> None:
    known, padding = torch.zeros(3, 5, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool)
    known[0], padding[2, 3:] = True, True
    made = sample(
        shrink,
        SHAPE,
        path=LinearFlow(),
        prediction="x0",
        sampler=make_sampler("flow-sde"),
        steps=3,
        rng=torch.Generator().manual_seed(0),
        clamp=Clamp(torch.zeros(3, 5), known),
        counted=~padding,
        keep="all",
    )
    for step in made.steps:
        expected = log_prob(Transition(step.mean, step.std), step.next_state, ~known & ~padding)
        torch.testing.assert_close(step.log_prob, expected)


def test_values_that_do_not_fit_are_refused() -> None:
    x, t = torch.zeros(SHAPE), torch.zeros(4)
    with pytest.raises(BadInput, match=r"given values \[3, 4\]"):
        Clamp(torch.zeros(3, 4), torch.ones(3, 5, dtype=torch.bool)).apply(x, x, t, LinearFlow())
    with pytest.raises(BadInput, match=r"mask \[4, 3\]"):
        Clamp(torch.zeros(3, 5), torch.ones(4, 3, dtype=torch.bool)).apply(x, x, t, LinearFlow())
