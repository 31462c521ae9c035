"""Rows 26 to 33 for zoos that are built: what is not finite, odd types, links, and data that change meanwhile."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_builds import Facts, facts, fork_workers, recipe, whole_of

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest
from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import TrainingPlan
from weightsmith.errors import BadInput, Diverged
from weightsmith.layout import Layout, TensorSpec, Weights
from weightsmith.pipeline import run_pipeline
from weightsmith.reporter import Silent
from weightsmith.zoo import RowInfo, Zoo, build, summarise
from weightsmith.zoo.build import build_zoo, divergences
from weightsmith.zoo.summary import summary_lines
from weightsmith.zoo.tasks import GroupTask, RunSpec, group_runs

DIGITS = DatasetRequest("digits", image_size=8)
PLAN = TrainingPlan(2, 128, "sgd", "fp32")
MLP = Architecture("mlp", (1, 8, 8), 10, {"hidden": [4]})
MODULES = '''\
import torch
from torch import nn


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def now_and_then_nan():
    """Of the seeds of runs 0 to 5, those of some."""
    module = linear()
    if module[1].bias[0].item() > 0:
        module[1].weight.data[1, 2] = float("nan")
    return module


def always_infinite():
    module = linear()
    module[1].bias.data.fill_(float("inf"))
    return module


def float64():
    return linear().double()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 10, dtype=torch.complex64))

    def forward(self, images):
        return (images.flatten(1).to(self.w.dtype) @ self.w).real


class Phases(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.register_buffer("phases", torch.zeros(3, dtype=torch.complex64))


class Wide(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 11))
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a module of a user's own architectures."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "own_networks.py").write_text(MODULES)
    sys.path.insert(0, str(folder))
    yield "own_networks"
    sys.path.remove(str(folder))


def tasks_of(name: str, runs: int = 6, size: int = 3, plan: TrainingPlan = PLAN) -> list[GroupTask]:
    form = MLP if name == "mlp" else Architecture(name, (1, 8, 8), 10, {}, True)
    return group_runs([RunSpec(run, form, DIGITS, plan, 1e-2) for run in range(runs)], 0, "stacked", size, "cpu")


def built(path: Path, tasks: list[GroupTask], command: str = "a") -> tuple[Zoo, int]:
    """The zoo, and how many runs were missing before."""
    missing: list[int] = []
    return build_zoo(path, tasks, LocalEngine(1, 1), {"command": command}, begin=missing.append), missing[0]


# Rows 26 and 29: what is not finite.


def test_row_26_runs_that_begin_with_nan_are_quarantined_once(tmp_path: Path, own: str) -> None:
    """And the rest of their group goes on; the same again, or by another command, trains nothing and adds nothing."""
    tasks = tasks_of(f"{own}:now_and_then_nan")
    zoo, missing = built(tmp_path, tasks)
    assert missing == 6
    bad = [entry.run for entry in zoo.quarantined]
    assert bad
    assert sorted([*bad, *zoo.runs]) == list(range(6))
    assert all("'1.weight' holds 1 NaN" in entry.reason for entry in zoo.quarantined)
    assert all(len(zoo.select(run=run)) == 3 for run in zoo.runs)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in ("a", "b"):
        assert built(tmp_path, tasks, command)[1] == 0
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert any("quarantined: run " in line for line in summary_lines(summarise(zoo)))


def test_row_26_a_zoo_of_nothing_but_infinity_is_kept_and_refused(tmp_path: Path, own: str) -> None:
    tasks = tasks_of(f"{own}:always_infinite")
    for command in ("a", "b"):
        with pytest.raises(Diverged, match=r"every run diverged: run 0(.|\n)*'1.bias' holds 0 NaN and 10 infinite"):
            built(tmp_path, tasks, command)
    zoo = Zoo.open(tmp_path)
    assert (len(zoo), zoo.segments, len(zoo.quarantined)) == (0, 2, 6)


def test_row_29_a_run_of_a_group_is_kept_to_its_last_good_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steps are captured it ends in the middle of an epoch; the others are as if trained without it."""
    train = build.train_networks
    plan = replace(PLAN, capture_steps=2)

    def diverging(*arguments: Any, **options: Any) -> Any:
        for capture in train(*arguments, **options):
            losses = capture.losses.clone()
            losses[1] = math.inf if capture.step >= 13 else losses[1]
            yield replace(capture, losses=losses)

    calm, _ = built(tmp_path / "calm", tasks_of("mlp", plan=plan))
    monkeypatch.setattr(build, "train_networks", diverging)
    zoo, _ = built(tmp_path / "zoo", tasks_of("mlp", plan=plan))
    steps = [row.step for row in calm.select(run=0)]
    assert [row.step for row in zoo.select(run=1)] == [step for step in steps if step < 13]
    assert divergences(zoo) == {run: f"run {run}: loss is inf in epoch 2" for run in (1, 4)}
    found, wanted = facts(zoo), facts(calm)
    assert all(found[name] == wanted[name] for name in wanted if name[0] not in (1, 4))
    assert len(found) == len(wanted) - 2 * sum(1 for step in steps if step >= 13)


@pytest.mark.parametrize("epoch", [1, 2])
def test_row_29_a_divergence_is_resumed_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Whether a group is interrupted before or after one of it has diverged."""
    wild = [replace(spec, learning_rate=1e30 if spec.run == 1 else 1e-2) for spec in tasks_of("mlp", 3)[0].runs]
    tasks = group_runs(
        [replace(s, plan=replace(PLAN, epochs=3, capture_steps=4)) for s in wild], 0, "stacked", 3, "cpu"
    )

    def stop(report: build.EpochReport) -> None:
        if report.epoch == epoch:
            raise KeyboardInterrupt

    straight = facts(build_zoo(tmp_path / "straight", tasks, LocalEngine(1, 1), {}))
    with pytest.raises(KeyboardInterrupt):
        build_zoo(tmp_path / "halting", tasks, LocalEngine(1, 1), {}, stop)
    heard: list[build.EpochReport] = []
    assert facts(build_zoo(tmp_path / "halting", tasks, LocalEngine(1, 1), {}, heard.append)) == straight
    assert (heard[0].resumed, heard[0].epoch) == (True, epoch)


# Rows 27 and 28: types and shapes of a user's own networks.


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Complex", "tensor 'w' is complex64"),
        ("Phases", "tensor 'phases' is complex64"),
        ("float64", "cannot read images"),
        ("Wide", r"gives \[2, 11\], not \[2, 10\]"),
    ],
)
def test_rows_27_28_networks_that_do_not_fit_are_refused_before_they_are_trained(
    tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    monkeypatch.setattr(build, "train_networks", lambda *_, **__: pytest.fail("training has begun"))
    with pytest.raises(BadInput, match=rf"architecture '{own}:{name}' (.|\n)*{told}(.|\n)*remedy"):
        built(tmp_path, tasks_of(f"{own}:{name}"))
    assert len(Zoo.open(tmp_path)) == 0


# Row 30: accuracies that are constant or missing.


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([None, None, None], (0, None, None, None)),
        ([0.5, 0.5, 0.5], (3, 0.5, 0.5, 0.5)),
        ([0.0, 0.0, 0.0], (3, 0.0, 0.0, 0.0)),
        ([0.0, None, 1.0], (2, 0.0, 0.5, 1.0)),
        ([None, 0.25, None], (1, 0.25, 0.25, 0.25)),
        ([0, 1, True], (3, 0, 1, 1)),
        ([-1e300, 0.5, 1e300], (3, -1e300, 0.5, 1e300)),
    ],
)
def test_row_30_accuracies_are_summarised_without_sentinels(
    tmp_path: Path, accuracies: list[float | None], expected: tuple[Any, ...]
) -> None:
    Zoo.create(tmp_path, {})
    weights = Weights(Layout((TensorSpec("w", (2,), "float32", "weight"),)), torch.zeros(3, 2), {})
    with Zoo.writer(tmp_path) as writer:
        writer.append(weights, [RowInfo(run, 0, 0, {"accuracy": a}) for run, a in enumerate(accuracies)], {})
    summary = summarise(Zoo.open(tmp_path))
    (group,) = summary.groups
    assert (group.measured, group.lowest, group.median, group.highest) == expected
    assert summary.accuracy == ("accuracy" if group.measured else None)
    (line,) = [line for line in summary_lines(summary) if line.startswith("not stated")]
    shown = ["-" if value is None else f"{value:.4f}" for value in expected[1:]]
    assert line.split()[-3:] == shown
    assert "nan" not in line


def test_row_30_networks_of_which_nothing_is_known(tmp_path: Path) -> None:
    Zoo.create(tmp_path, {})
    weights = Weights(Layout((TensorSpec("w", (2,), "float32", "weight"),)), torch.zeros(2, 2), {})
    with Zoo.writer(tmp_path) as writer:
        writer.append(weights, [RowInfo("a", 0, 0, {}), RowInfo("b", 0, 0, {"loss": None})], {})
    summary = summarise(Zoo.open(tmp_path))
    assert summary.accuracy is None
    assert [(group.runs, group.measured, group.median) for group in summary.groups] == [(2, 0, None)]
    assert summary_lines(summary)[-1].split()[-3:] == ["-", "-", "-"]


# Row 32: links.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return whole_of(recipe("zoo.epochs=1"), tmp_path_factory.mktemp("whole") / "run")


def test_row_32_an_output_that_is_a_link_is_where_it_leads(tmp_path: Path, whole: Facts) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "elsewhere")
    run_pipeline(recipe("zoo.epochs=1"), link, until="zoo")
    assert link.is_symlink()
    assert facts(Zoo.open(tmp_path / "elsewhere" / "zoo")) == whole


def test_row_32_an_output_that_links_to_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.tex").write_bytes(b"x")
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="is not a weightsmith run and not empty"):
        run_pipeline(recipe(), tmp_path / "run", until="zoo")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["thesis.tex"]


def test_row_32_states_are_never_deleted_through_a_link(tmp_path: Path, whole: Facts) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "run-0.safetensors").write_bytes(b"mine")
    run_pipeline(recipe("zoo.epochs=1"), run, until="zoo")
    (run / "zoo" / "unfinished").symlink_to(elsewhere)
    with pytest.raises(BadInput, match=r"unfinished is a link(.|\n)*remove the link"):
        run_pipeline(recipe("zoo.epochs=1"), run, until="zoo")
    assert (elsewhere / "run-0.safetensors").read_bytes() == b"mine"
    (run / "zoo" / "unfinished").unlink()
    assert facts(Zoo.open(run_pipeline(recipe("zoo.epochs=1"), run, until="zoo").zoo)) == whole


# Row 33: data that change while a zoo is built.


def write_images(path: Path, changed: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    images[7, 2, 3] ^= changed
    np.savez(path.with_name("new.npz"), x_train=images, y_train=np.arange(60) % 2)
    path.with_name("new.npz").replace(path)  # whole at every moment: a worker may be reading it


@pytest.mark.parametrize("workers", [1, 2])
def test_row_33_data_that_change_while_a_zoo_is_built_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """By one bit; what was trained before is kept, and with the data as they were the build goes on."""
    fork_workers(monkeypatch)
    data = tmp_path / "mine.npz"
    write_images(data, changed=False)
    wanted = recipe(f"dataset={data}", "zoo.runs=30", "zoo.epochs=2", "zoo.group_size=1", f"zoo.workers={workers}")
    whole = whole_of(wanted, tmp_path / "whole")

    class Changing(Silent):
        heard = 0

        def advance(self, text: str, by: int = 1, fresh: bool = True) -> None:
            self.heard += 1
            if self.heard == 20:
                write_images(data, changed=True)

    with pytest.raises(BadInput, match=r"data set '.*mine.npz'(.|\n)* is not the one that the zoo is made with"):
        run_pipeline(wanted, tmp_path / "run", until="zoo", reporter=Changing())
    stored = facts(Zoo.open(tmp_path / "run" / "zoo"))
    assert stored.items() <= whole.items()
    assert 0 < len(stored) < len(whole)
    write_images(data, changed=False)
    assert facts(Zoo.open(run_pipeline(wanted, tmp_path / "run", until="zoo").zoo)) == whole


def test_row_33_a_state_belongs_to_the_data_that_were_asked_for() -> None:
    """And not to what stands in the file by the time the state is written."""
    spec = RunSpec(0, MLP, DatasetRequest("./gone.npz"), PLAN, 1e-2, data="0" * 64)
    first, other = (GroupTask((replace(spec, data=data * 64),), 0, "loop", "cpu").fingerprint for data in "01")
    assert first == GroupTask((spec,), 0, "loop", "cpu").fingerprint
    assert first != other
