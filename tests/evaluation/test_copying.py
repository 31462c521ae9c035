from __future__ import annotations

import pytest
import torch
from audited_networks import MLP, disguised, distance_for, networks
from scipy.stats import mannwhitneyu, norm
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.evaluation.copying import data_copying_score, dispersion_ratio, mean_pairwise_distance
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.nearest import nearest_reference
from weightsmith.layout import Weights


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(*vectors: list[float]) -> Weights:
    return Weights.generated(Weights.of(nn.Linear(1, 1)).layout, torch.tensor(vectors))


PLAIN = NetworkDistance(None, torch.ones(1), torch.zeros(1))


def test_the_score_by_hand() -> None:
    # Of the six pairs the sample is the farther one in five: U = 5, mean 3, variance 6 * 6 / 12 = 3.
    assert data_copying_score(torch.tensor([2.0, 9.0]), torch.tensor([1.0, 3.0, 0.5])) == pytest.approx(2 / 3**0.5)


@pytest.mark.parametrize("rounded", [False, True], ids=["no ties", "ties"])
def test_it_is_the_z_score_of_the_mann_whitney_test(rounded: bool) -> None:
    samples, held_out = torch.rand(37, generator=rng(1)), torch.rand(24, generator=rng(2)) + 0.2
    if rounded:
        samples, held_out = samples.mul(5).round(), held_out.mul(5).round()
    test = mannwhitneyu(
        samples.numpy(), held_out.numpy(), method="asymptotic", use_continuity=False, alternative="less"
    )
    assert data_copying_score(samples, held_out) == pytest.approx(norm.ppf(test.pvalue), rel=1e-6)


def test_copies_score_far_below_zero_and_swapping_the_sets_changes_the_sign() -> None:
    copies, held_out = torch.zeros(60), torch.rand(30, generator=rng()) + 0.5
    score = data_copying_score(copies, held_out)
    assert score < -7
    assert data_copying_score(held_out, copies) == pytest.approx(-score)
    assert data_copying_score(torch.ones(3), torch.ones(5)) == 0


def test_independent_draws_of_one_distribution_score_as_a_standard_normal() -> None:
    scores = []
    for seed in range(200):
        draw = torch.randn(61, 3, generator=rng(seed))
        training, samples, held_out = draw[:20], draw[20:45], draw[45:]
        scores.append(
            data_copying_score(torch.cdist(samples, training).amin(1), torch.cdist(held_out, training).amin(1))
        )
    found = torch.tensor(scores)
    assert float(found.mean()) == pytest.approx(0, abs=0.2)
    assert float(found.std()) == pytest.approx(1, abs=0.15)


def test_disguised_copies_of_networks_are_caught() -> None:
    measure = distance_for(MLP)
    training = networks(MLP, range(14))
    canonical = measure.canonical(training)
    held_out = nearest_reference(measure, measure.canonical(networks(MLP, range(100, 111))), canonical, 2).distances
    for copies in (training[:9], disguised(MLP, training[:9], 5)):
        distances = nearest_reference(measure, measure.canonical(copies), canonical, 2).distances
        assert data_copying_score(distances, held_out) < -3.5
    fresh = nearest_reference(measure, measure.canonical(networks(MLP, range(200, 209))), canonical, 2).distances
    assert abs(data_copying_score(fresh, held_out)) < 3


@pytest.mark.parametrize("samples", [torch.empty(0), torch.tensor([1.0, float("nan")])])
def test_distances_that_say_nothing_are_refused(samples: torch.Tensor) -> None:
    with pytest.raises(BadInput, match="held-out"):
        data_copying_score(samples, torch.ones(3))


def test_the_mean_over_pairs_by_hand_and_over_a_random_part_of_them() -> None:
    three = points([3.0, 0.0], [0.0, 4.0], [6.0, 0.0])
    expected = (2 * 5 / 7 + 2 * 3 / 9 + 2 * 52**0.5 / 10) / 3
    assert mean_pairwise_distance(PLAIN, three, rng()) == pytest.approx(expected)
    assert mean_pairwise_distance(PLAIN, three[:1], rng()) is None
    many = Weights.generated(three.layout, torch.randn(60, 2, generator=rng(4)))
    whole = PLAIN.mean_pairwise(many)
    assert whole is not None
    assert mean_pairwise_distance(PLAIN, many, rng(), 5000) == pytest.approx(whole)
    part = mean_pairwise_distance(PLAIN, many, rng(), 900)
    assert part != pytest.approx(whole, rel=1e-6)
    assert part == pytest.approx(whole, rel=0.05)
    assert part == mean_pairwise_distance(PLAIN, many, rng(), 900)


def test_dispersion_is_zero_for_one_network_in_disguise_and_one_for_independent_networks() -> None:
    measure = distance_for(MLP)
    held_out = measure.canonical(networks(MLP, range(6)))
    one = networks(MLP, [50])
    replay = measure.canonical(Weights.concatenate([disguised(MLP, one, seed) for seed in range(4)]))
    assert dispersion_ratio(measure, replay, held_out, rng()) == pytest.approx(0, abs=1e-5)
    fresh = measure.canonical(networks(MLP, range(60, 67)))
    assert dispersion_ratio(measure, fresh, held_out, rng()) == pytest.approx(1, abs=0.1)
    assert dispersion_ratio(measure, fresh[:1], held_out, rng()) is None
    assert dispersion_ratio(measure, fresh, held_out[[1, 1]], rng()) is None


def test_networks_that_are_not_finite_have_no_dispersion() -> None:
    with pytest.raises(BadInput, match="1 of 3 networks"):
        mean_pairwise_distance(PLAIN, points([3.0, 0.0], [0.0, float("nan")], [1.0, 0.0]), rng())
