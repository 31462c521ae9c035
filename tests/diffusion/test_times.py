"""Training times: a distribution by its quantiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.diffusion import UNIFORM, TrainingTimes


def test_uniform_times_are_their_own_quantiles() -> None:
    quantiles = torch.linspace(0.01, 1, 37, dtype=torch.float64)
    assert torch.equal(UNIFORM.at(quantiles), quantiles)


@given(st.floats(-3, 3), st.floats(0.1, 3))
def test_logit_normal_times_have_their_location_as_median_and_spread_by_their_scale(
    location: float, scale: float
) -> None:
    times = TrainingTimes(logit_normal=True, location=location, scale=scale)
    normal = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    logits = torch.logit(times.at(normal))
    assert logits.tolist() == pytest.approx([location - scale, location, location + scale], abs=1e-6)


def test_no_time_leaves_the_range_at_the_ends() -> None:
    found = TrainingTimes(logit_normal=True, location=-20.0, scale=20.0).at(torch.tensor([1e-12, 1.0]).double())
    assert 0 < found[0] < 1e-3
    assert found[1] == 1
