"""The loop as a whole: resuming, validation, monitors, divergence, precision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import EVERYTHING, Denoiser, assert_same, denoising_loss, examples, make, values

from weightsmith.errors import ArtifactError, BadInput, Diverged
from weightsmith.interfaces import LossRecord
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.training import LoopSettings, Trainer, TrainingProgress
from weightsmith.training import trainer as trainer_module

EPOCHS = 12


def dispersion(generator: Any, progress: TrainingProgress) -> dict[str, float | str]:
    with torch.random.fork_rng():
        torch.manual_seed(progress.epoch)
        spread = float(generator.network(torch.randn(4, 3)).std(dim=0).mean())
    return {"dispersion": spread, "alarm": "samples are nearly equal"} if spread < 0.9 else {"dispersion": spread}


def followed(state: Path | None = None, **changes: Any) -> tuple[Trainer, list[dict[str, Any]]]:
    """A trainer with everything on, and the documents of its epochs but for their clocks."""
    seen: list[dict[str, Any]] = []

    def note(progress: TrainingProgress) -> None:
        seen.append({k: v for k, v in progress.document().items() if k != "seconds"})

    settings = changes.pop("settings", EVERYTHING)
    return make(settings, state, monitors={"samples": dispersion}, on_epoch=note, **changes), seen


def killed_everywhere(state: Path, **changes: Any) -> tuple[Trainer, list[dict[str, Any]]]:
    """A training of which a new process makes every single epoch."""
    documents = []
    for epoch in range(1, EPOCHS + 1):
        part, seen = followed(state, **changes)
        assert part.progress.epoch == epoch - 1
        part.run(epoch)
        part.save()
        documents += seen
    return part, documents


@pytest.mark.parametrize("updates", [None, 2, 5])
def test_resuming_at_every_epoch_is_bitwise_the_whole(tmp_path: Path, updates: int | None) -> None:
    settings = replace(EVERYTHING, updates_per_epoch=updates)
    whole, expected = followed(settings=settings, norm=True)
    whole.run(EPOCHS)
    resumed, found = killed_everywhere(tmp_path / "state.safetensors", settings=settings, norm=True)
    assert_same(values(whole), values(resumed))
    assert found == expected
    assert (whole.best, whole.stopped) == (resumed.best, resumed.stopped)
    assert whole.best.epoch > 0
    assert {"validation_loss", "learning_rate", "gradient_norm", "clipped_share", "parts"} <= expected[1].keys()
    assert [i for i, d in enumerate(expected, 1) if "validation_loss" in d] == [2, 4, 6, 8, 10, 12]
    assert [i for i, d in enumerate(expected, 1) if "monitors" in d] == [3, 6, 9, 12]


def test_resuming_between_any_two_updates_is_bitwise_the_whole(tmp_path: Path) -> None:
    whole, expected = followed()
    whole.run(3)
    documents: list[dict[str, Any]] = []
    for stop in range(1, 10):  # three batches an epoch
        part, seen = followed(tmp_path / "state.safetensors")
        calls = iter(range(99))

        def once(calls: Any = calls) -> None:
            if next(calls) == 1:
                raise KeyboardInterrupt

        part.check = once
        if stop < 9:
            with pytest.raises(KeyboardInterrupt):
                part.run(3)
        else:
            part.run(3)
        assert part.optimizer.updates == stop
        documents += seen
    assert_same(values(whole), values(part))
    assert documents == expected


def test_a_kill_loses_only_what_came_after_the_last_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "SAVE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(trainer_module.time, "monotonic", iter(range(10**6)).__next__)  # saving costs one, 20 later
    killed, _ = followed(tmp_path / "state.safetensors")
    killed.run(9)  # and never saved by hand
    resumed, _ = followed(tmp_path / "state.safetensors")
    assert 0 < resumed.optimizer.updates < 27
    resumed.run(EPOCHS)
    whole, _ = followed()
    whole.run(EPOCHS)
    assert_same(values(whole), values(resumed))


def test_dropout_is_drawn_from_the_seed_and_leaves_the_global_randomness_alone() -> None:
    one, other = make(dropout=0.5), make(dropout=0.5)
    torch.manual_seed(1)
    one.run(2)
    first = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(first, torch.rand(1))
    torch.manual_seed(2)
    other.run(2)
    assert_same(values(one), values(other))


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": replace(EVERYTHING, ema_decay=0.8)},
        {"settings": replace(EVERYTHING, patience=5)},
        {"examples": {"clean": examples(8)["clean"].flip(0)}},  # the same sum
        {"validation": examples(5, 2)},
        {"learning_rate": 0.01},
        {"norm": True},
    ],
)
def test_another_plan_or_other_data_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    first, _ = followed(tmp_path / "state.safetensors")
    first.run(1)
    first.save()
    with pytest.raises(ArtifactError, match="another training"):
        followed(tmp_path / "state.safetensors", **changes)


def test_another_objective_is_refused(tmp_path: Path) -> None:
    def other(*arguments: Any) -> LossRecord:
        return denoising_loss(*arguments)

    path = tmp_path / "state.safetensors"
    for objective in (denoising_loss, other):
        arguments = (Denoiser(), objective, examples(8), 3, 0.01, 5, path)
        if objective is other:
            with pytest.raises(ArtifactError, match="another training"):
                Trainer(*arguments)
        else:
            found = Trainer(*arguments)
            found.run(1)
            found.save()


def test_the_averages_are_validated_and_used() -> None:
    settings = LoopSettings(ema_decay=0.9)
    validated = make(settings, validation=examples(5, 1), dropout=0.0)
    plain = make(settings, dropout=0.0)
    validated.run(1)
    plain.run(1)
    current = {name: value.clone() for name, value in plain.generator.network.state_dict().items()}
    with plain.chosen_weights():
        used = {name: value.clone() for name, value in plain.generator.network.state_dict().items()}
    assert not torch.equal(used["0.weight"], current["0.weight"])
    assert_same(current, plain.generator.network.state_dict())
    found = validated._watch._validation.loss()  # type: ignore[union-attr]  # of the current weights
    with validated.chosen_weights():
        again = validated._watch._validation.loss()  # type: ignore[union-attr]
    assert validated.progress.validation_loss == again != found
    plain.finish()
    assert_same(used, plain.generator.network.state_dict())


def test_the_same_weights_always_have_the_same_validation_loss() -> None:
    found = make(LoopSettings(), validation=examples(5, 1), learning_rate=0.0)
    losses = []
    found.on_epoch = lambda progress: losses.append(progress.validation_loss)
    found.run(4)
    assert len(set(losses)) == 1


def planned_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    given = iter(losses)
    monkeypatch.setattr("weightsmith.training.watching.Validation.loss", lambda self: next(given))


def test_training_stops_and_gives_the_weights_of_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    planned_losses(monkeypatch, [3.0, 1.0, 2.0, 1.5, 1.2, 0.1])
    found = make(LoopSettings(patience=3), dropout=0.0)
    seen = []
    found.on_epoch = lambda progress: seen.append(found.generator.network[0].weight.detach().clone())
    assert found.run(100).epoch == 5
    assert found.stopped
    assert (found.best.loss, found.best.epoch) == (1.0, 2)
    assert found.run(200).epoch == 5
    found.finish()
    assert torch.equal(found.generator.network[0].weight, seen[1])
    assert not torch.equal(seen[1], seen[4])


def test_early_stopping_survives_being_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned_losses(monkeypatch, [3.0, 1.0, 2.0, 1.5, 1.2, 0.1])
    for _ in range(9):
        part = make(LoopSettings(patience=3), tmp_path / "state.safetensors")
        part.run(part.progress.epoch + 1)
        part.save()
    assert (part.progress.epoch, part.best.epoch, part.stopped) == (5, 2, True)


def test_validation_and_monitors_do_not_touch_training() -> None:
    def intrusive(generator: Any, progress: TrainingProgress) -> dict[str, float | str]:
        assert not generator.network.training
        torch.rand(5)
        with torch.enable_grad():
            generator.network(torch.randn(4, 3)).sum().backward()
        return {}

    plain, watched = (
        make(LoopSettings(clip_norm=1.0)),
        make(LoopSettings(clip_norm=1.0), validation=examples(5, 1), monitors={"intrusive": intrusive}),
    )
    for one in (plain, watched):
        one.run(3)
    assert_same(plain.generator.network.state_dict(), watched.generator.network.state_dict())
    assert watched.generator.network.training


def test_an_alarm_is_told_and_logged_and_training_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    found = make(
        LoopSettings(monitor_every=2),
        monitors={"collapse": lambda generator, progress: {"dispersion": 0.01, "alarm": "samples are equal"}},
        on_alarm=told.append,
    )
    found.run(4)
    assert told == ["epoch 2: collapse: samples are equal", "epoch 4: collapse: samples are equal"]
    assert found.progress.monitors == {"collapse.dispersion": 0.01}
    assert found.progress.alarms == {"collapse": "samples are equal"}


def failing_at(calls: set[int], how: str) -> Any:
    """The denoising loss, but that it, or its gradient, is not finite the given times that it is called."""
    made = 0

    def objective(generator: Any, batch: Any, rng: torch.Generator) -> LossRecord:
        nonlocal made
        made += 1
        record = denoising_loss(generator, batch, rng)
        if made not in calls:
            return record
        weight = generator.network[0].weight
        bad = record.loss * math.nan if how == "loss" else record.loss + (weight - weight.detach()).abs().sum().sqrt()
        return LossRecord(bad, {})

    return objective


@pytest.mark.parametrize(("how", "said"), [("loss", "loss is nan"), ("gradient", "gradient norm is nan")])
def test_divergence_in_an_epoch_keeps_and_saves_the_last_good_update(tmp_path: Path, how: str, said: str) -> None:
    path = tmp_path / "state.safetensors"
    found = make(EVERYTHING, path, norm=True, monitors={})
    found.objective = failing_at({5}, how)  # the second batch of the second epoch; after that state's identity
    with pytest.raises(Diverged, match=f"{said} in epoch 2; no update"):
        found.run(3)
    good = make(EVERYTHING, norm=True)
    good.check = stop_after(good, 4)
    with pytest.raises(KeyboardInterrupt):
        good.run(3)
    assert_same(values(good), values(found))
    resumed = make(EVERYTHING, path, norm=True)
    assert resumed.optimizer.updates == 4
    resumed.run(3)
    whole = make(EVERYTHING, norm=True)
    whole.run(3)
    assert_same(values(whole), values(resumed))


def stop_after(trainer: Trainer, updates: int) -> Any:
    def check() -> None:
        if trainer.optimizer.updates == updates:
            raise KeyboardInterrupt

    return check


def test_batches_that_are_not_finite_are_left_out_up_to_the_stated_number_in_a_row() -> None:
    found = make(LoopSettings(skip_nonfinite=2))
    found.objective = failing_at({2, 3, 5, 6}, "loss")
    documents = []
    found.on_epoch = lambda progress: documents.append(progress.document())
    found.run(2)
    assert [document["skipped"] for document in documents] == [2, 2]
    assert found.optimizer.updates == 2
    assert all(parameter.isfinite().all() for parameter in found.generator.network.parameters())
    third = make(LoopSettings(skip_nonfinite=2))
    third.objective = failing_at({3, 4, 5}, "gradient")  # over the end of an epoch
    with pytest.raises(Diverged, match="epoch 2, as in 2 batches before it"):
        third.run(2)


def test_an_epoch_without_an_update_has_no_loss(tmp_path: Path) -> None:
    found = make(LoopSettings(skip_nonfinite=9), tmp_path / "state.safetensors")
    found.objective = failing_at({1, 2, 3}, "loss")
    found.run(1)
    found.save()
    assert math.isnan(found.progress.loss)
    assert math.isnan(make(LoopSettings(skip_nonfinite=9), tmp_path / "state.safetensors").progress.loss)


def test_a_validation_loss_that_is_not_finite_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    planned_losses(monkeypatch, [1.0, math.inf, math.inf, 0.5])
    told: list[str] = []
    found = make(LoopSettings(patience=2), on_alarm=told.append)
    assert found.run(9).epoch == 3
    assert told == ["epoch 2: validation: the loss is inf", "epoch 3: validation: the loss is inf"]
    assert found.best.epoch == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_mixed_precision_trains_with_full_precision_weights(monkeypatch: pytest.MonkeyPatch, optimizer: Any) -> None:
    monkeypatch.setattr("weightsmith.optim.LARGE", 1)
    settings = LoopSettings(optimizer=optimizer, precision="bf16", clip_norm=1.0, ema_decay=0.9, updates_per_epoch=20)
    found = make(settings, dropout=0.0)
    dtypes = set()
    found.generator.network[0].register_forward_hook(lambda layer, args, output: dtypes.add(output.dtype))
    before = found.loss()
    found.run(15)
    assert found.loss() < 0.5 * before
    assert dtypes == {torch.bfloat16}
    assert {value.dtype for name, value in values(found).items() if "updates" not in name} == {torch.float32}


def test_one_example_fills_a_batch() -> None:
    sizes = set()
    found = make(LoopSettings(updates_per_epoch=4), examples=examples(1), batch_size=64)

    def objective(generator: Any, batch: Any, rng: torch.Generator) -> LossRecord:
        sizes.add(len(batch["clean"]))
        return denoising_loss(generator, batch, rng)

    found.objective = objective
    assert found.run(2).updates == 8
    assert sizes == {64}


def test_the_mean_loss_weighs_batches_by_their_examples() -> None:
    found = make(LoopSettings(), learning_rate=0.0)
    seen: list[tuple[int, float]] = []

    def objective(generator: Any, batch: Any, rng: torch.Generator) -> LossRecord:
        record = denoising_loss(generator, batch, rng)
        seen.append((len(batch["clean"]), float(record.loss.detach())))
        return record

    found.objective = objective
    found.run(1)
    assert [size for size, _ in seen] == [3, 3, 2]
    assert found.progress.loss == pytest.approx(sum(n * loss for n, loss in seen) / 8, rel=1e-12)
    assert found.progress.parts["root"] == pytest.approx(sum(n * math.sqrt(loss) for n, loss in seen) / 8, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples": {}}, "examples hold nothing"),
        ({"examples": {"a": torch.zeros(2), "b": torch.zeros(3)}}, "'b': 3"),
        ({"examples": examples(0)}, "no examples"),
        ({"validation": examples(0)}, "no validation examples"),
        ({"validation": None}, "patience=4"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_meaningless_input_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make(EVERYTHING, **changes)


def test_the_log_holds_what_was_measured_and_old_lines_are_as_they_were(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.rewind(0, 0)
    log.epoch(2, TrainingProgress(1, 2, 0.5, 1.23456))
    log.epoch(2, TrainingProgress(101, 2, 0.5, 1.0))  # neither round nor measured: left out
    log.epoch(2, TrainingProgress(102, 204, 0.5, 1.0, validation_loss=0.25, clipped_share=0.0, monitors={"a.b": 2.0}))
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"pipeline": 2, "epoch": 1, "updates": 2, "loss": 0.5, "seconds": 1.2346}',
        '{"pipeline": 2, "epoch": 102, "updates": 204, "loss": 0.5, "seconds": 1.0, "validation_loss": 0.25, '
        '"clipped_share": 0.0, "monitors": {"a.b": 2.0}}',
    ]
