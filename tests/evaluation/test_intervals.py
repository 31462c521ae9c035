from __future__ import annotations

import pytest
import torch
from scipy.stats import bootstrap

from weightsmith.errors import BadInput
from weightsmith.evaluation.intervals import (
    mean_interval,
    median_interval,
    median_ratio_interval,
    quantile_interval,
)
from weightsmith.evaluation.novelty import nearest_ratio


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_values_are_those_of_the_whole_set() -> None:
    values, other = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([2.0, 5.0, 8.0])
    assert mean_interval(values, rng()).value == 4
    assert median_interval(values, rng()).value == 3
    assert quantile_interval(values, 0.25, rng()).value == 1.75
    found = median_ratio_interval(values, other, rng())
    assert found.value == nearest_ratio(values, other) == pytest.approx(0.6)
    assert found.networks == 3
    assert found.low < found.value < found.high


def test_a_share_is_the_mean_of_a_boolean() -> None:
    found = mean_interval(torch.tensor([True] * 30 + [False] * 10), rng())
    assert found.value == 0.75
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 40) ** 0.5, rel=0.1)


def test_the_interval_follows_the_seed_alone_and_widens_with_the_level() -> None:
    values = torch.randn(31, generator=rng(5))
    assert median_interval(values, rng(1)) == median_interval(values, rng(1))
    assert median_interval(values, rng(1)).high != mean_interval(values, rng(2)).high
    narrow, wide = mean_interval(values, rng(), level=0.5), mean_interval(values, rng(), level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_it_agrees_with_scipy() -> None:
    values = torch.rand(45, generator=rng(3)).double()
    theirs = bootstrap((values.numpy(),), lambda x, axis: x.mean(axis), method="percentile", n_resamples=4000, rng=0)
    found = mean_interval(values, rng(), resamples=4000)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * width)


def test_coverage_is_about_the_level_on_a_gaussian() -> None:
    generator, hits = rng(7), {"mean": 0, "median": 0, "ratio": 0}
    for _ in range(300):
        values, other = (torch.randn(n, generator=generator) + 10 for n in (50, 40))
        intervals = {
            "mean": (mean_interval(values, generator, 0.9, 400), 10),
            "median": (median_interval(values, generator, 0.9, 400), 10),
            "ratio": (median_ratio_interval(values, other, generator, 0.9, 400), 1),
        }
        for name, (found, truth) in intervals.items():
            hits[name] += found.low <= truth <= found.high
    for count in hits.values():
        assert 0.84 <= count / 300 <= 0.96


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(BadInput, match="empty"):
        mean_interval(torch.empty(0), rng())
    with pytest.raises(BadInput, match="not finite"):
        median_interval(torch.tensor([1.0, float("nan")]), rng())
    with pytest.raises(BadInput, match="quantile 2"):
        quantile_interval(torch.ones(3), 2.0, rng())
    with pytest.raises(BadInput, match="level 95"):
        mean_interval(torch.ones(3), rng(), level=95.0)
    with pytest.raises(BadInput, match="below the line"):
        median_ratio_interval(torch.ones(3), torch.zeros(4), rng())
