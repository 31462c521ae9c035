from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.denoisers import ConditionBatch, ConditionEmbedding, ConditionKinds, GivenBatch
from weightsmith.denoisers.continuous import ContinuousCondition, warped
from weightsmith.denoisers.embedding import TimeEmbedding, octaves, sinusoidal
from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Given
from weightsmith.tokens import Tokens

ACCURACIES = torch.tensor([0.6, torch.nan, 0.96, 0.8])


def embedding(width: int = 5) -> ConditionEmbedding:
    torch.manual_seed(0)
    made = ConditionEmbedding(width, ConditionKinds({"accuracy": "logit"}, {"dataset": ["mnist", "digits"]}))
    made.observe({"accuracy": ACCURACIES})
    return made


def test_sines_and_cosines_have_their_closed_form() -> None:
    t = torch.tensor([0.0, 0.25, 1.0])
    e = sinusoidal(t, 4)
    assert e[0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert e[1].tolist() == pytest.approx([math.cos(250), math.cos(2.5), math.sin(250), math.sin(2.5)], abs=1e-4)
    assert sinusoidal(torch.rand(3), 10).shape == (3, 10)
    z = octaves(torch.tensor([2.0]), 2)[0].tolist()
    assert z == pytest.approx([2, math.sin(math.pi / 4), 1, math.cos(math.pi / 4), 0], abs=1e-6)


def test_times_are_embedded_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        near = sinusoidal(torch.tensor([0.9, 0.901]), 8)
    assert float((near[0] - near[1]).abs().max()) > 0.1


def test_an_odd_number_of_time_features_is_refused() -> None:
    with pytest.raises(BadInput, match="7 time features"):
        TimeEmbedding(4, 7)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_warps_keep_the_order(a: float, b: float) -> None:
    for warp in ("none", "logit", "log"):
        low, high = warped(torch.tensor([min(a, b), max(a, b)]), warp).tolist()  # type: ignore[arg-type]
        assert math.isfinite(low)
        assert low <= high


def test_the_logit_resolves_high_accuracies() -> None:
    a = warped(torch.tensor([0.60, 0.61, 0.96, 0.97, 0.98, 0.99]), "logit")
    assert a[3] - a[2] > 5 * (a[1] - a[0])
    assert a[5] - a[4] > 10 * (a[1] - a[0])
    assert float(warped(torch.tensor([0.5]), "logit")) == 0.0


def test_training_values_set_the_buffers() -> None:
    found = embedding().continuous["accuracy"]
    kept = warped(ACCURACIES[[0, 2, 3]].double(), "logit")
    assert (float(found.low), float(found.high), int(found.count)) == (pytest.approx(0.6), pytest.approx(0.96), 3)
    assert float(found.mean) == pytest.approx(float(kept.mean()), rel=1e-6)
    assert float(found.std) == pytest.approx(float(kept.std(correction=0)), rel=1e-6)
    assert {"mean", "std", "low", "high", "count"} <= set(found.state_dict())


def test_one_training_value_is_no_division_by_zero() -> None:
    one = ContinuousCondition("loss", 3, "log")
    one.observe(torch.tensor([0.2]))
    assert float(one.std) == 1.0
    one.check(torch.tensor([0.2]))
    with pytest.raises(BadInput, match="outside the trained range"):
        one.check(torch.tensor([0.21]))


@pytest.mark.parametrize(("values", "match"), [([math.nan], "no training network"), ([0.5, 97.0], "97 is not within")])
def test_training_values_that_cannot_be_are_refused(values: list[float], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        embedding().observe({"accuracy": torch.tensor(values)})


def test_missing_training_values_are_named() -> None:
    with pytest.raises(BadInput, match="no training values of accuracy"):
        embedding().observe({})


def test_a_condition_becomes_a_batch() -> None:
    batch = embedding().batch(Condition(accuracy=0.9, dataset="digits"), 3)
    torch.testing.assert_close(batch.values["accuracy"], torch.full((3,), 0.9))
    assert batch.values["dataset"].tolist() == [1, 1, 1]
    assert all(mark.tolist() == [True] * 3 for mark in batch.present.values())
    wishes = torch.tensor([0.6, 0.7, 0.96])
    assert torch.equal(embedding().batch(Condition(accuracy=wishes), 3).values["accuracy"], wishes)
    assert not embedding().batch(Condition(), 3).values


def test_the_range_is_refused_beyond_five_percent_and_warned_of_within() -> None:
    made = embedding()  # 0.6 to 0.96: the margin is 0.018
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.batch(Condition(accuracy=0.6), 1)
        made.batch(Condition(accuracy=0.96), 1)
    for near in (0.585, 0.975):
        with pytest.warns(UserWarning, match=r"outside the trained range 0\.6 to 0\.96"):
            made.batch(Condition(accuracy=near), 1)
    for far in (0.58, 0.98):
        with pytest.raises(BadInput, match=rf"accuracy {far} lies outside the trained range 0\.6 to 0\.96"):
            made.batch(Condition(accuracy=torch.tensor([0.8, far])), 2)


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        (Condition(dataset="digit"), r"(?s)unknown dataset 'digit'.*did you mean 'digits'.*known: mnist, digits"),
        (Condition(loss=0.3), r"(?s)not trained with 'loss'.*accuracy, dataset"),
        (Condition(accuracy=97.0), "97 is not within 0 to 1"),
        (Condition(accuracy=math.nan), "nan is not within"),
        (Condition(accuracy=torch.tensor([0.7, 0.8])), "2 values of accuracy for 3 samples"),
    ],
)
def test_what_cannot_be_asked_is_refused(condition: Condition, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        embedding().batch(condition, 3)


def test_a_condition_that_was_never_observed_is_refused() -> None:
    fresh = ConditionEmbedding(4, ConditionKinds({"accuracy": "logit"}))
    with pytest.raises(BadInput, match="not trained with it"):
        fresh.batch(Condition(accuracy=0.9), 1)


def test_the_null_is_what_an_absent_value_gives() -> None:
    made = embedding()
    with torch.no_grad():
        made.continuous["accuracy"].null.fill_(2.0)  # type: ignore[operator]
    columns = made.columns({"accuracy": torch.tensor([0.7, torch.nan]), "dataset": [None, "digits"]})
    batch = ConditionBatch.of(columns)
    assert batch.present["accuracy"].tolist() == [True, False]
    assert columns["dataset"].tolist() == [-1, 1]
    vectors = made(batch, torch.zeros(2))
    table = made.categorical["dataset"].table.weight
    torch.testing.assert_close(vectors[1], table[1] + 2.0)
    accuracy = made.continuous["accuracy"](torch.tensor([0.7]), torch.tensor([True]))[0]
    torch.testing.assert_close(vectors[0], accuracy + table[2])
    vectors.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_no_conditions_give_zeros() -> None:
    assert torch.equal(ConditionEmbedding(4, ConditionKinds())(None, torch.zeros(3)), torch.zeros(3, 4))


def test_dropping_is_by_sample_and_by_name() -> None:
    batch = ConditionBatch.of({"accuracy": torch.tensor([0.7, 0.8]), "dataset": torch.tensor([-1, 0])})
    drop = torch.tensor([True, False])
    assert batch.dropped(drop).present["accuracy"].tolist() == [False, True]
    only = batch.dropped(drop, ["dataset"])
    assert only.present["accuracy"].tolist() == [True, True]
    assert only.present["dataset"].tolist() == [False, True]
    assert batch[1:].values["accuracy"].shape == (1,)


def test_lengths_must_agree() -> None:
    with pytest.raises(BadInput, match="do not agree"):
        ConditionBatch.of({"accuracy": torch.tensor([0.7, 0.8]), "dataset": torch.tensor([0])})
    with pytest.raises(BadInput, match="do not agree"):
        ConditionBatch({"accuracy": torch.tensor([0.7])}, {})


@pytest.mark.parametrize(
    "kinds",
    [
        {"continuous": {"dataset": "none"}},
        {"vocabulary": {"accuracy": ["a"]}},
        {"vocabulary": {"dataset": []}},
        {"vocabulary": {"dataset": ["a", "a"]}},
    ],
)
def test_kinds_that_make_no_sense_are_refused(kinds: dict) -> None:
    with pytest.raises(BadInput):
        ConditionKinds(**kinds)


def test_given_parts_of_one_network_go_to_every_sample() -> None:
    values = torch.arange(6.0).view(1, 2, 3)
    one = Given(
        Tokens(values, torch.tensor([[True, False]]), Tokens.single(torch.zeros(1, 3)).meanings * 2), values[0] > 0
    )
    batch = GivenBatch.of(one, 4)
    assert batch.values.shape == batch.known.shape == (4, 2, 3)
    assert batch.known[3].tolist() == [[False, True, True], [False, False, False]]
    two = Given(one.tokens[[0, 0]], one.known)
    assert GivenBatch.of(two, 2).values.shape == (2, 2, 3)
    with pytest.raises(BadInput, match="2 given networks for 3 samples"):
        GivenBatch.of(two, 3)
