from __future__ import annotations

import pytest
import torch
from audited_networks import CNN, MLP, disguised, distance_for, networks, outputs
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.nearest import nearest_other, nearest_reference
from weightsmith.layout import Weights

BOTH = pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])


@BOTH
def test_disguised_copies_compute_the_same(architecture: Architecture) -> None:
    weights = networks(architecture, range(3))
    images = torch.randn(5, *architecture.input_shape)
    copies = disguised(architecture, weights, 1)
    assert float((copies.vectors - weights.vectors).norm(dim=1).min()) > 0.1
    torch.testing.assert_close(
        outputs(architecture, copies, images), outputs(architecture, weights, images), atol=1e-5, rtol=1e-4
    )


@BOTH
def test_disguised_copies_are_found_among_many_with_few_candidates(architecture: Architecture) -> None:
    measure, training = distance_for(architecture), networks(architecture, range(24))
    copies = measure.canonical(disguised(architecture, training[[21, 3, 14, 8, 23]], 1))
    found = nearest_reference(measure, copies, measure.canonical(training), candidates=4)
    assert not found.exhaustive
    assert found.positions.tolist() == [21, 3, 14, 8, 23]
    assert float(found.distances.max()) < 1e-5


@BOTH
def test_noised_disguised_copies_are_found_too(architecture: Architecture) -> None:
    measure, training = distance_for(architecture), networks(architecture, range(24))
    copies = measure.canonical(disguised(architecture, training[[21, 3, 14]], 1))
    noise = torch.randn(copies.vectors.shape, generator=torch.Generator().manual_seed(0))
    noised = copies.replace(copies.vectors + 0.2 * copies.vectors.std() * noise)
    found = nearest_reference(measure, noised, measure.canonical(training), candidates=8)
    assert found.positions.tolist() == [21, 3, 14]
    assert 0.1 < float(found.distances.max()) < 0.3


@BOTH
def test_a_shortlist_gives_an_upper_bound_that_brute_force_confirms(architecture: Architecture) -> None:
    measure = distance_for(architecture)
    training = measure.canonical(networks(architecture, range(15)))
    others = measure.canonical(networks(architecture, range(100, 107)))
    brute = measure.between(others, training)
    found = nearest_reference(measure, others, training, candidates=5)
    torch.testing.assert_close(found.distances, brute[torch.arange(7), found.positions])
    assert bool((found.distances >= brute.amin(dim=1) - 1e-6).all())
    assert float((found.distances / brute.amin(dim=1)).mean()) < 1.05
    assert float(found.distances.median()) < float(brute.median())
    whole = nearest_reference(measure, others, training, candidates=15)
    assert whole.exhaustive
    torch.testing.assert_close(whole.distances, brute.amin(dim=1))


@pytest.mark.parametrize("candidates", [3, 50])
def test_leaving_one_out_passes_over_the_network_itself(candidates: int) -> None:
    measure = distance_for(MLP)
    training = measure.canonical(networks(MLP, [*range(9), 4]))
    found = nearest_other(measure, training, candidates)
    assert found.positions[4] == 9
    assert found.positions[9] == 4
    assert bool((found.positions != torch.arange(10)).all())
    lonely = [i for i in range(10) if i not in (4, 9)]
    assert float(found.distances[[4, 9]].max()) == 0
    assert float(found.distances[lonely].min()) > 0.3


def test_networks_that_are_not_finite_have_no_nearest() -> None:
    measure = distance_for(MLP)
    training = measure.canonical(networks(MLP, range(20)))
    broken = training[[5, 6, 7]]
    broken.vectors[1, 3] = float("nan")
    broken.vectors[2] *= 1e20
    found = nearest_reference(measure, broken, training, candidates=4)
    assert found.sound.tolist() == [True, False, False]
    assert found.positions.tolist() == [5, -1, -1]
    assert found.distances[0] == 0
    assert bool(found.distances[1:].isnan().all())
    assert nearest_reference(measure, broken[1:], training).positions.tolist() == [-1, -1]


def test_without_known_symmetries_it_is_exhaustive() -> None:
    layout = Weights.of(nn.Linear(1, 1)).layout
    measure = NetworkDistance(None, torch.ones(1), torch.zeros(1))
    points = Weights.generated(layout, torch.tensor([[3.0, 0.0], [0.0, 4.0], [6.0, 0.0]]))
    found = nearest_other(measure, points, candidates=1)
    assert found.exhaustive
    assert found.positions.tolist() == [2, 0, 0]
    assert found.distances.tolist() == pytest.approx([2 / 3, 10 / 7, 2 / 3])


def test_references_that_cannot_be_used_are_refused() -> None:
    measure = distance_for(MLP)
    training = measure.canonical(networks(MLP, range(3)))
    with pytest.raises(BadInput, match="nearest of 0"):
        nearest_reference(measure, training, training[:0])
    with pytest.raises(BadInput, match="nearest of 0"):
        nearest_other(measure, training[:1])
    training.vectors[2, 0] = float("inf")
    with pytest.raises(BadInput, match="training network 2 is not finite"):
        nearest_reference(measure, training, training)
