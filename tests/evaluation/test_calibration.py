from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from weightsmith.errors import BadInput
from weightsmith.evaluation.calibration import Calibration, calibration_r2

WANTED = torch.linspace(0.6, 0.96, 37, dtype=torch.float64)
VARIANCE = float(WANTED.var(correction=0))


def test_what_was_asked_for_scores_one() -> None:
    found = Calibration.of(WANTED, WANTED)
    assert (found.r2, found.slope, found.bias, found.mean_absolute_error) == pytest.approx((1, 1, 0, 0))


def test_a_constant_error_lowers_it_though_the_correlation_is_perfect() -> None:
    found = Calibration.of(WANTED, WANTED - 0.03)
    assert found.r2 == pytest.approx(1 - 0.03**2 / VARIANCE)
    assert (found.slope, found.bias, found.mean_absolute_error) == pytest.approx((1, -0.03, 0.03))


@given(st.floats(-2, 3))
def test_a_wrong_slope_lowers_it_by_the_square_of_its_error(slope: float) -> None:
    found = Calibration.of(WANTED, WANTED.mean() + slope * (WANTED - WANTED.mean()))
    assert found.r2 == pytest.approx(1 - (1 - slope) ** 2)
    assert found.slope == pytest.approx(slope)
    assert found.bias == pytest.approx(0, abs=1e-12)


def test_ignoring_the_wish_scores_at_most_zero() -> None:
    assert calibration_r2(WANTED, torch.full_like(WANTED, float(WANTED.mean()))) == pytest.approx(0)
    assert calibration_r2(WANTED, torch.full_like(WANTED, 0.96)) < -1
    scattered = WANTED[torch.randperm(37, generator=torch.Generator().manual_seed(0))]
    assert calibration_r2(WANTED, scattered) < 0


def test_it_agrees_with_scikit_learn_wanted_being_the_truth() -> None:
    achieved = WANTED + 0.05 * torch.randn(37, generator=torch.Generator().manual_seed(1))
    assert calibration_r2(WANTED, achieved) == pytest.approx(r2_score(WANTED.numpy(), achieved.numpy()))


@pytest.mark.parametrize(
    ("wanted", "achieved", "message"),
    [
        (WANTED, WANTED[:-1], "37 wanted accuracies, 36 achieved"),
        (torch.full((3,), 0.9), torch.tensor([0.8, 0.9, 0.7]), "all of them equal"),
        (torch.tensor([0.8, 0.9]), torch.tensor([0.8, float("nan")]), "not finite"),
        (torch.empty(0), torch.empty(0), "0 wanted"),
    ],
)
def test_what_shows_no_calibration_is_refused(wanted: torch.Tensor, achieved: torch.Tensor, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Calibration.of(wanted, achieved)
