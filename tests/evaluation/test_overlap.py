from __future__ import annotations

import pytest
import torch

from weightsmith.errors import BadInput
from weightsmith.evaluation.overlap import error_overlap, largest_overlap, largest_overlap_with_others

WRONG = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
TRAINING = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)


def test_overlap_is_intersection_over_union() -> None:
    assert error_overlap(WRONG, TRAINING).tolist() == [[1, 0], [1 / 4, 0], [0, 0]]
    assert largest_overlap(WRONG, TRAINING).tolist() == [1, 1 / 4, 0]


def test_two_networks_without_errors_have_the_same_errors() -> None:
    assert error_overlap(WRONG[2:], torch.zeros(2, 5, dtype=torch.bool)).tolist() == [[1, 1]]


def test_it_agrees_with_sets() -> None:
    rng = torch.Generator().manual_seed(0)
    ours, theirs = torch.rand(6, 80, generator=rng) < 0.3, torch.rand(4, 80, generator=rng) < 0.2
    sets = [[set(row.nonzero()[:, 0].tolist()) for row in wrong] for wrong in (ours, theirs)]
    expected = [[len(a & b) / len(a | b) for b in sets[1]] for a in sets[0]]
    torch.testing.assert_close(error_overlap(ours, theirs), torch.tensor(expected, dtype=torch.float64))


def test_within_a_set_a_network_is_not_compared_with_itself() -> None:
    assert largest_overlap_with_others(WRONG).tolist() == [1 / 4, 1 / 4, 0]
    assert largest_overlap_with_others(WRONG[[0, 1, 0]]).tolist() == [1, 1 / 4, 1]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadInput, match="5 images were compared with predictions on 4"):
        error_overlap(WRONG, TRAINING[:, :4])
    with pytest.raises(BadInput, match="no training network"):
        largest_overlap(WRONG, TRAINING[:0])
    with pytest.raises(BadInput, match="no other"):
        largest_overlap_with_others(WRONG[:1])
