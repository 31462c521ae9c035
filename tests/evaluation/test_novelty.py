from __future__ import annotations

import pytest
import torch
from audited_networks import MLP, disguised, distance_for, networks, outputs
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.errors import BadInput
from weightsmith.evaluation.nearest import nearest_other, nearest_reference
from weightsmith.evaluation.novelty import (
    SWEPT_MARGINS,
    SWEPT_QUANTILES,
    Examined,
    NovelRule,
    Novelty,
    PerformantRule,
    Shares,
    nearest_ratio,
    threshold_sweep,
)
from weightsmith.evaluation.overlap import largest_overlap, largest_overlap_with_others

NAN = float("nan")


def examined(distance: list[float], overlap: list[float], accuracy: list[float]) -> Examined:
    return Examined(*[torch.tensor(values, dtype=torch.float64) for values in (distance, overlap, accuracy)])


HELD_OUT = examined([1 + i / 100 for i in range(101)], [0.3 + i / 1000 for i in range(101)], [0.95] * 101)
ZOO_ACCURACY = torch.tensor([0.94, 0.95, 0.96], dtype=torch.float64)


def test_thresholds_are_the_quantiles_that_the_rules_state() -> None:
    novel, performant = NovelRule.of(HELD_OUT), PerformantRule.of(ZOO_ACCURACY)
    assert (novel.least_distance, novel.most_overlap) == pytest.approx((1.05, 0.395))
    assert performant.least_accuracy == pytest.approx(0.945)


def test_a_threshold_itself_holds() -> None:
    novel, performant = NovelRule(1.0, 0.5), PerformantRule(0.9)
    at = examined([1.0, 0.99, 1.0], [0.5, 0.5, 0.51], [0.9, 0.89, 1.0])
    assert novel.holds(at).tolist() == [True, False, False]
    assert performant.holds(at).tolist() == [True, False, True]


def test_shares_count_every_network_also_those_that_are_not_finite() -> None:
    samples = examined([2.0, 2.0, 0.1, NAN], [0.1, 0.1, 0.1, 1.0], [0.96, 0.5, 0.96, NAN])
    found = Shares.of(samples, NovelRule(1.0, 0.5), PerformantRule(0.9))
    assert (found.novel, found.performant, found.both, found.networks) == (0.5, 0.5, 0.25, 4)


def test_held_out_networks_are_novel_about_as_often_as_the_quantile_says() -> None:
    shares = Shares.of(HELD_OUT, NovelRule.of(HELD_OUT), PerformantRule.of(ZOO_ACCURACY))
    # The distances and overlaps grow together here, so that 5 % fail by each rule.
    assert shares.novel == pytest.approx(0.9, abs=0.02)
    assert shares.performant == 1


def test_the_ratio_is_of_medians() -> None:
    samples, held_out = torch.tensor([0.1, 0.2, 9.0]), torch.tensor([0.3, 0.5, 0.5, 7.0])
    assert nearest_ratio(samples, held_out) == pytest.approx(0.4)
    assert nearest_ratio(samples, torch.zeros(2)) is None
    with pytest.raises(BadInput, match="distances of samples: 2 networks, 1 of them not finite"):
        nearest_ratio(torch.tensor([0.1, NAN]), held_out)


def test_the_sweep_holds_every_pair_of_thresholds_and_the_default_one() -> None:
    samples = examined([1.2, 0.9], [0.3, 0.2], [0.95, 0.93])
    rows = threshold_sweep(samples, HELD_OUT, ZOO_ACCURACY)
    assert [(row.quantile, row.margin) for row in rows] == [(q, m) for q in SWEPT_QUANTILES for m in SWEPT_MARGINS]
    default = next(row for row in rows if (row.quantile, row.margin) == (0.05, 0.005))
    assert default.samples == Shares.of(samples, NovelRule.of(HELD_OUT), PerformantRule.of(ZOO_ACCURACY))
    assert default.held_out.networks == 101


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_stricter_thresholds_never_raise_a_share(rows: list[tuple[float, float, float]]) -> None:
    samples = examined(*[list(column) for column in zip(*rows, strict=True)])
    table = {(row.quantile, row.margin): row.samples for row in threshold_sweep(samples, HELD_OUT, ZOO_ACCURACY)}
    for margin in SWEPT_MARGINS:
        novel = [table[quantile, margin].novel for quantile in SWEPT_QUANTILES]
        assert novel == sorted(novel, reverse=True)
    for quantile in SWEPT_QUANTILES:
        both = [table[quantile, margin].both for margin in SWEPT_MARGINS]
        assert both == sorted(both)
    assert all(share.both <= min(share.novel, share.performant) for share in table.values())


def test_copies_of_training_networks_are_not_novel_and_independent_ones_are() -> None:
    measure, images = distance_for(MLP), torch.randn(400, *MLP.input_shape, generator=torch.Generator().manual_seed(3))
    training, held_out = networks(MLP, range(12)), networks(MLP, range(100, 107))
    labels = outputs(MLP, training[:3], images).mean(dim=0).argmax(dim=1)
    canonical = measure.canonical(training)

    def wrong(weights: object) -> torch.Tensor:
        return outputs(MLP, weights, images).argmax(dim=2) != labels

    def examine(weights: object) -> Examined:
        nearest = nearest_reference(measure, measure.canonical(weights), canonical, candidates=3)
        errors = wrong(weights)
        overlap = largest_overlap(errors, wrong(training))
        return Examined(nearest.distances, overlap, 1 - errors.double().mean(dim=1))

    errors = wrong(training)
    among = Examined(
        nearest_other(measure, canonical, candidates=3).distances,
        largest_overlap_with_others(errors),
        1 - errors.double().mean(dim=1),
    )
    for copies in (training[:5], disguised(MLP, training[:5], 2)):
        samples = examine(copies)
        assert float(samples.distance.max()) < 1e-5
        assert samples.overlap.tolist() == pytest.approx([1.0] * 5, abs=0.02)
        found = Novelty.of(samples, examine(held_out), among)
        assert found.nearest_ratio == pytest.approx(0, abs=1e-5)
        assert found.samples.novel == found.samples.both == 0
    fresh = Novelty.of(examine(networks(MLP, range(200, 209))), examine(held_out), among)
    assert fresh.nearest_ratio == pytest.approx(1, abs=0.1)
    assert fresh.samples.novel > 0.6
    assert fresh.median_distance["training"] == pytest.approx(fresh.median_distance["held_out"], rel=0.1)


def test_the_audit_leaves_what_is_not_finite_out_of_medians_and_counts_it() -> None:
    training = examined([1.0, 1.1], [0.3, 0.3], [0.95, 0.96])
    samples = examined([0.5, NAN, 0.7, 0.9], [0.2, 1.0, 0.4, 0.6], [0.9, NAN, 0.9, 0.9])
    found = Novelty.of(samples, HELD_OUT, training)
    assert found.unsound == 1
    assert found.median_distance == pytest.approx({"samples": 0.7, "held_out": 1.5, "training": 1.05})
    assert found.median_overlap["samples"] == pytest.approx(0.4)
    assert found.nearest_ratio == pytest.approx(0.7 / 1.5)
    assert found.samples.networks == 4
    nothing = Novelty.of(examined([NAN], [1.0], [NAN]), HELD_OUT, training)
    assert nothing.nearest_ratio is None
    assert nothing.median_distance["samples"] is None
    assert nothing.samples == Shares(0.0, 0.0, 0.0, 1)


def test_unequal_columns_and_broken_references_are_refused() -> None:
    with pytest.raises(BadInput, match="2 distances, 1 overlaps, 2 accuracies"):
        examined([1.0, 2.0], [0.5], [0.9, 0.9])
    with pytest.raises(BadInput, match="held-out distances"):
        NovelRule.of(examined([NAN, 1.0], [0.5, 0.5], [0.9, 0.9]))
    with pytest.raises(BadInput, match=r"quantile 1\.5"):
        NovelRule.of(HELD_OUT, 1.5)
