"""A universal experiment on the digits, end to end: training that resumes, what is saved, measured and reported."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_universal_runs import PLAIN, outcome, recipe
from torch import nn

import weightsmith
from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.pipeline.universal import train
from weightsmith.record import read_records
from weightsmith.report.universal import summarise
from weightsmith.report.universal.verdict import headline_numbers, verdict
from weightsmith.training import trainer
from weightsmith.universal import UniversalSynthesizer

SPLITS = ["training", "unseen_size", "beyond", "unseen_combination", "held_out_family"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_pipeline(recipe(), tmp_path_factory.mktemp("universal") / "run")


def trained(folder: Path, *overrides: str) -> RunFolder:
    return run_pipeline(recipe(PLAIN, *overrides), folder, until="train")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a training that nobody interrupted comes to."""
    return outcome(trained(tmp_path_factory.mktemp("whole") / "run").path)


def test_what_is_saved_writes_networks_and_says_where_it_comes_from(run: RunFolder) -> None:
    assert not run.zoo.exists()
    assert not run.universal_state.exists()
    found = UniversalSynthesizer.load(run.universal)
    assert (found.covers.dataset, found.covers.input_shape, found.covers.classes) == ("digits", (1, 8, 8), 10)
    assert found.covers.extent.activations
    origin = found.provenance
    assert (origin["updates"], origin["families"], origin["objective"]) == (12, {"mlp": 1, "axial": 1}, "task")
    assert set(origin["validation accuracy"]) == {f"validation.{split}" for split in SPLITS}
    assert origin["peak_rss_mb"] > 50
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    with warnings.catch_warnings(action="ignore"):
        (weights,) = weightsmith.synthesize(module, n=1, synthesizer=run.universal)
    module.load_state_dict(weights)
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_every_epoch_is_logged_with_its_norm_memory_and_now_and_then_its_accuracies(run: RunFolder) -> None:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(line["epoch"], line["updates"]) for line in lines] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert all(line["loss"] > 0 and line["gradient_norm"] > 0 and line["peak_rss_mb"] > 50 for line in lines)
    assert lines[-1]["seconds"] > lines[0]["seconds"] > 0
    assert [bool(line.get("monitors")) for line in lines] == [False, True, False, True]
    assert set(lines[1]["monitors"]) == {f"validation.{split}" for split in SPLITS}


def test_architectures_of_every_split_are_measured_and_none_of_the_pool(run: RunFolder) -> None:
    records = read_records(run.records)
    networks = [record for record in records if record.kind == "network"]
    kinds = {(r.subject["split"], r.subject["number"], r.subject["set"], r.subject["sample"]) for r in networks}
    assert len(kinds) == len(networks) == 5 * 3
    assert {r.subject["number"] for r in networks if r.subject["split"] == "training"} == {3}
    assert {r.subject["number"] for r in networks if r.subject["split"] == "beyond"} == {0}
    held_out = {r.subject["family"] for r in networks if r.subject["split"] == "held_out_family"}
    assert held_out.isdisjoint({"mlp", "axial"})
    assert all(r.measured_on["split"] == "test" and r.measured_on["dataset"] == "digits" for r in networks)
    overlaps = [r.metrics["error_overlap"] for r in records if r.kind == "pair"]
    assert len(overlaps) == 5
    assert all(value is not None and 0 <= value <= 1 for value in overlaps)


def test_the_report_shows_splits_families_and_the_course_of_training(run: RunFolder) -> None:
    summary = summarise(read_records(run.records))
    assert [row["split"] for row in summary.splits] == SPLITS
    first = [row["accuracy"] for row in summary.networks if row["split"] == "training"]
    row = summary.split("training")
    assert row is not None
    assert [row["median"]] == [row["least"]] == [row["p05"]] == first
    numbers = headline_numbers(summary, "trained")
    assert numbers["unseen_size_median"] == summary.splits[1]["median"]
    assert numbers["training_updates"] == 12
    page = run.report.read_text()
    for text in ("held-out family", "Median % (worst %; architectures) by family", "random init", "How it was made"):
        assert text in page
    assert page.count("<svg") == 2
    assert [(run.plots / f"{name}.png").stat().st_size > 5000 for name in ("accuracies", "training")] == [True, True]
    assert sum("networks without any training of their own score" in text for text in verdict(summary, "")) == 5


def test_the_whole_run_again_changes_nothing(run: RunFolder) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and "plots" not in path.parts}
    run_pipeline(recipe(), run.path)
    assert {path: path.read_bytes() for path in before} == before


class Stop(KeyboardInterrupt):
    """As Ctrl-C in somebody's own program."""


def stop_after(updates: int) -> Callable[[], None]:
    calls = iter(range(updates))

    def check() -> None:
        if next(calls, None) is None:
            raise Stop

    return check


def test_an_interrupted_training_goes_on_bitwise(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(train, "check_interrupted", stop_after(7))
        with pytest.raises(Stop):
            trained(left)
    assert (left / "unfinished.safetensors").is_file()
    assert not (left / "synthesizer").exists()
    with pytest.raises(BadInput, match=r"universal\.pool: 3 -> 4"):
        trained(left, "universal.pool=4")
    trained(left)
    assert outcome(left) == whole
    assert not (left / "unfinished.safetensors").exists()


@pytest.mark.usefixtures("quick_workers")
def test_of_two_workers_one_dies_and_one_goes_on_bitwise(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is killed after the first epoch, which two have computed; the remedy that is given is followed."""
    log_epoch = MetricsLog.epoch

    def kill_one(log: MetricsLog, *arguments: Any, **measured: Any) -> None:
        log_epoch(log, *arguments, **measured)
        multiprocessing.active_children()[0].kill()

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.0)
        patch.setattr(MetricsLog, "epoch", kill_one)
        with pytest.raises(EnvironmentFault, match="a process that computes gradients died") as caught:
            trained(tmp_path / "run", "universal.workers=2")
    assert "universal.workers=1" in caught.value.remedy
    assert not multiprocessing.active_children()
    assert (tmp_path / "run" / "unfinished.safetensors").is_file()
    found = trained(tmp_path / "run", "universal.workers=1")
    assert found.recipe.universal.workers == 1
    assert outcome(found.path) == whole


def test_one_s_own_images_give_their_shape_and_classes(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 255, (60, 6, 7), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images[:12], y_test=labels[:12])
    data = f"dataset={{name: {tmp_path / 'mine.npz'}, image_size: null}}"
    found = trained(tmp_path / "run", data, "training.budgets={trained: 1}", "universal.families={vit: 1, cnn: 1}")
    covers = UniversalSynthesizer.load(found.universal).covers
    assert (covers.input_shape, covers.classes) == ((1, 6, 7), 3)


def test_it_can_start_from_what_was_learned_before(run: RunFolder, tmp_path: Path) -> None:
    still = ["training.budgets={trained: 1}", "training.learning_rate=1e-9", "training.average=0"]
    found = trained(tmp_path / "run", *still, f"universal.start={run.universal}")
    before, after = (UniversalSynthesizer.load(folder).generator.network for folder in (run.universal, found.universal))
    for name, value in after.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name], rtol=1e-2, atol=1e-6)
    assert UniversalSynthesizer.load(found.universal).provenance["started from"] == str(run.universal)
    for size, value in (("rank", 6), ("context", 3)):
        with pytest.raises(BadInput, match=rf"has {size} \d, this recipe {value}"):
            trained(tmp_path / "other", f"generator.options.{size}={value}", f"universal.start={run.universal}")
    with pytest.raises(BadInput, match=r"nowhere is no folder(.|\n)*comes along: mnist-universal, mnist-cnn-start"):
        trained(tmp_path / "other", "universal.start=nowhere")
    assert not (tmp_path / "other").exists(), "it can be begun with another start"


def test_families_that_leave_a_split_empty_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="axial leave nothing for unseen_combination"):
        trained(tmp_path / "run", "universal.families={axial: 1}", "universal.splits=[unseen_combination]")
