"""Closed forms: rates, averages, clipping, AdamW, the order of batches, the best loss."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from weightsmith import optim
from weightsmith.errors import BadInput
from weightsmith.optim import FLUSH_EVERY, TINY, OuterProductAdam
from weightsmith.training import LoopSettings, TrainingProgress
from weightsmith.training.average import WeightAverage, decay_of
from weightsmith.training.batches import BatchOrder
from weightsmith.training.best import BestSoFar
from weightsmith.training.identity import described, identity
from weightsmith.training.optimizers import adamw, make_optimizer, muon
from weightsmith.training.schedule import rate_factor
from weightsmith.training.updating import Updater


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 4))


def test_a_constant_rate_is_exactly_the_rate() -> None:
    assert [rate_factor(LoopSettings(), update, 0) for update in (0, 7, 10**9)] == [1.0, 1.0, 1.0]


def test_warm_up_and_cosine_have_their_known_values() -> None:
    settings = LoopSettings(schedule="cosine", planned_epochs=1, warmup_updates=4, floor=0.2)
    found = [rate_factor(settings, update, 12) for update in (0, 1, 3, 4, 6, 8, 10, 12, 99)]
    quarter = (1 + math.sqrt(0.5)) / 2
    expected = [0.25, 0.5, 1.0, 1.0, 0.2 + 0.8 * quarter, 0.6, 0.2 + 0.8 * (1 - quarter), 0.2, 0.2]
    assert found == pytest.approx(expected, abs=1e-12)


def test_warm_up_goes_with_a_constant_rate() -> None:
    settings = LoopSettings(warmup_updates=2)
    assert [rate_factor(settings, update, 0) for update in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_the_cosine_is_that_of_pytorch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.1)
    settings = LoopSettings(schedule="cosine", planned_epochs=1, floor=0.1)
    for update in range(21):
        assert rate_factor(settings, update, 20) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_the_average_of_a_known_sequence() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(10.0)
    average = WeightAverage(layer, 0.25)
    expected = 10.0
    for update, weight in enumerate((4.0, -2.0, 7.0, 1.0), 1):
        layer.weight.data.fill_(weight)
        average.note(update)
        decay = {1: 2 / 11, 2: 0.25, 3: 0.25, 4: 0.25}[update]
        expected = decay * expected + (1 - decay) * weight
        assert float(average.tensors["weight"]) == pytest.approx(expected, rel=1e-6)
    assert layer.weight.item() == 1.0


def test_the_decay_warms_up_to_its_value() -> None:
    assert [decay_of(0.999, update) for update in (1, 8, 90, 10**5)] == pytest.approx([2 / 11, 0.5, 0.91, 0.999])


def test_a_frozen_parameter_is_not_averaged() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    assert set(WeightAverage(model, 0.9).tensors) == {name for name, _ in model.named_parameters()} - {"0.weight"}


@pytest.mark.parametrize("large", [1, 10**9])
@pytest.mark.parametrize("batch", [2, 40])  # the norm of a large layer is had in two ways
@pytest.mark.parametrize("limit", [0.1, 1e6])
def test_clipping_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch, large: int, batch: int, limit: float) -> None:
    monkeypatch.setattr(optim, "LARGE", large)
    monkeypatch.setattr(optim, "CHUNK", 12)
    ours, theirs = network(), network()
    updater = Updater(ours, 0.01, LoopSettings(clip_norm=limit), 0)
    reference = torch.optim.Adam(theirs.parameters(), 0.01)
    x = torch.randn(batch, 6)
    for _ in range(3):
        found = updater.update((ours(x) * 5).square().mean())
        reference.zero_grad()
        (theirs(x) * 5).square().mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        reference.step()
        assert found.norm == pytest.approx(float(norm), rel=1e-4)
        assert found.clipped == (limit < 1)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("large", [1, 10**9])
@pytest.mark.parametrize("batch", [1, 40])
def test_a_norm_whose_square_overflows_is_still_had(monkeypatch: pytest.MonkeyPatch, large: int, batch: int) -> None:
    monkeypatch.setattr(optim, "LARGE", large)
    model = nn.Linear(5, 4)
    found = Updater(model, 0.01, LoopSettings(), 0).update(model(torch.ones(batch, 5)).sum() * 1e25)
    assert found.made
    assert found.norm == pytest.approx(batch * 1e25 * math.sqrt(5 * 4 + 4), rel=1e-5)


def test_a_clipped_gradient_has_the_limits_norm() -> None:
    model = network()
    optimizer = make_optimizer(model, 0.01, LoopSettings())
    optimizer.backward(model(torch.randn(3, 6)).square().sum() * 100)
    norm = float(optimizer.gradient_norm())
    assert norm > 2
    optimizer.scale(2 / norm)
    assert float(optimizer.gradient_norm()) == pytest.approx(2.0, rel=1e-5)


def test_adamw_is_that_of_pytorch() -> None:
    ours, theirs = network(), network()
    own = adamw(ours, 0.02, 0.3)
    decayed, free = ([p for p in theirs.parameters() if (p.ndim > 1) == many] for many in (True, False))
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": free, "weight_decay": 0.0}], 0.02, fused=False
    )
    x = torch.randn(7, 6)
    for update in range(40):
        own.learning_rate = reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = 0.02 / (1 + update)
        own.backward(ours(x).square().mean())
        own.update()
        reference.zero_grad()
        theirs(x).square().mean().backward()
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_muon_makes_the_singular_values_of_a_matrix_s_step_about_one_and_is_adam_for_the_rest() -> None:
    ours, theirs = network(), network()
    own, adam = muon(ours, 0.01), torch.optim.Adam(theirs.parameters(), 0.01)
    before = [p.detach().clone() for p in ours.parameters()]
    x = torch.randn(7, 6)
    own.backward(ours(x).square().mean())
    own.update()
    theirs(x).square().mean().backward()
    adam.step()
    for mine, other, start in zip(ours.parameters(), theirs.parameters(), before, strict=True):
        if mine.ndim == 2 and min(mine.shape) > 1:
            steps = torch.linalg.svdvals((mine.detach() - start) / (0.01 * 0.2 * math.sqrt(max(mine.shape))))
            strong = steps[steps > 0.3]  # directions without a gradient stay without a step
            assert len(strong) > 0
            assert float(strong.max()) < 1.4
        else:
            torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_muon_goes_on_from_what_it_saved() -> None:
    one, other, x = network(), network(), torch.randn(7, 6)
    whole, first = muon(one, 0.01), muon(other, 0.01)
    for update in range(4):
        if update == 2:
            saved, first = first.tensors(), muon(other, 0.01)
            first.restore(saved)
        for optimizer, model in ((whole, one), (first, other)):
            optimizer.backward(model(x).square().mean())
            optimizer.update()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert first.updates == 4


def test_muon_clears_denormal_moments() -> None:
    model = network()
    own = muon(model, 0.01)
    for _ in range(FLUSH_EVERY):
        own.backward(model(torch.ones(7, 6)).square().mean())
        own.scale(1e-36)
        own.update()
    moments = [value for name, value in own.tensors().items() if value.ndim]
    assert all(bool(((value == 0) | (value.abs() >= TINY)).all()) for value in moments)


def test_weight_decay_alone_shrinks_matrices_by_its_closed_form() -> None:
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = adamw(model, 0.1, 0.5)
    for _ in range(3):
        optimizer.backward(sum(p.sum() for p in model.parameters()) * 0.0)
        optimizer.update()
    for name, value in model.named_parameters():
        factor = (1 - 0.1 * 0.5) ** 3 if value.ndim > 1 else 1.0
        torch.testing.assert_close(value, before[name] * factor)


@pytest.mark.parametrize("large", [1, 10**9])
def test_a_discarded_gradient_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(optim, "LARGE", large)
    one, other = network(), network()
    x = torch.randn(3, 6)
    for model, disturbed in ((one, True), (other, False)):
        optimizer = OuterProductAdam(model, 0.01)
        if disturbed:
            optimizer.backward(model(x * 9).sum())
            optimizer.gradient_norm()
            optimizer.discard()
        optimizer.step(model(x).square().sum())
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def order(count: int, batch: int, updates: int | None) -> BatchOrder:
    return BatchOrder(count, batch, updates, lambda purpose, n: torch.Generator().manual_seed(n))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 6))
def test_the_stream_shows_all_examples_equally_often_in_full_batches(count: int, batch: int, updates: int) -> None:
    epochs = [order(count, batch, updates).batches(epoch) for epoch in range(1, 8)]  # each asked for on its own
    assert all(len(epoch) == updates and {len(rows) for rows in epoch} == {batch} for epoch in epochs)
    seen = torch.cat([rows for epoch in epochs for rows in epoch]).tolist()
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))
    whole = order(count, batch, updates)
    assert [rows.tolist() for epoch in range(1, 8) for rows in whole.batches(epoch)] == [
        rows.tolist() for epoch in epochs for rows in epoch
    ]


def test_one_pass_has_a_smaller_last_batch() -> None:
    found = order(7, 3, None)
    assert [len(rows) for rows in found.batches(1)] == [3, 3, 1]
    assert found.updates_per_epoch == 3
    assert order(7, 3, 50).updates_per_epoch == 50


def test_permutations_of_few_examples_are_all_equally_likely() -> None:
    rows = torch.cat(order(3, 30, 400).batches(1)).view(-1, 3)
    counts = Counter(map(tuple, rows.tolist()))
    assert len(counts) == 6
    assert all(abs(n - 4000 / 6) < 5 * math.sqrt(4000 / 6) for n in counts.values())


def test_the_best_is_the_lowest_and_small_steps_add_up() -> None:
    best = BestSoFar(margin=0.1)
    losses = [1.0, 0.95, 0.91, 0.89, 0.9, math.nan, 0.88]
    found = [(best.note(loss, epoch), best.waited) for epoch, loss in enumerate(losses, 1)]
    assert found == [(True, 0), (True, 1), (True, 2), (True, 0), (False, 1), (False, 2), (True, 3)]
    assert (best.loss, best.epoch, best.reference) == (0.88, 7, 0.89)


def test_a_margin_of_a_negative_loss_is_below_it() -> None:
    best = BestSoFar(margin=0.1)
    assert [best.note(loss, 1) and best.waited for loss in (-1.0, -1.05, -1.2)] == [0, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sgd"},
        {"weight_decay": 0.1},
        {"weight_decay": -1.0, "optimizer": "adamw"},
        {"schedule": "cosine"},
        {"floor": 1.5},
        {"clip_norm": 0.0},
        {"clip_norm": math.nan},
        {"ema_decay": 1.0},
        {"precision": "fp16"},
        {"updates_per_epoch": 0},
        {"patience": 0},
        {"margin": 1.0},
        {"skip_nonfinite": -1},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        LoopSettings(**wrong)  # type: ignore[arg-type]


def loss_of(scale: float, batch: Tensor) -> Tensor:
    return batch * scale


def test_an_identity_names_what_differs_and_nothing_of_the_process() -> None:
    assert described(partial(loss_of, 2.0)) == [f"{__name__}.loss_of", ["2.0"], {}]
    assert identity(f=partial(loss_of, 2.0)) != identity(f=partial(loss_of, 3.0))
    assert identity(d=torch.tensor([1.0, 2.0])) != identity(d=torch.tensor([2.0, 1.0]))
    assert identity(d=torch.zeros(2, 3)) != identity(d=torch.zeros(3, 2))
    assert "0x" not in str(described([lambda: 0, object(), LoopSettings(clip_norm=math.inf)]))


def test_a_document_says_what_was_asked_and_comes_back() -> None:
    plain = TrainingProgress(3, 6, 0.5, 1.25)
    assert plain.document() == {"epoch": 3, "updates": 6, "loss": 0.5, "seconds": 1.25}
    full = TrainingProgress(3, 6, 0.5, 1.25, 0.25, 0.0, 2.0, 0.0, 1, {"a": 1.0}, {"m.d": 0.0}, {"m": "low"})
    assert len(full.document()) == 12
    assert TrainingProgress.of(full.document()) == full
    assert math.isnan(TrainingProgress.of(TrainingProgress(0, 0, math.nan, 0.0).document()).loss)
