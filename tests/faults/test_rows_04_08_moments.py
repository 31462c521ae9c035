"""Rows 2 to 8 at chosen moments of building a zoo, and with states and groups that do not belong together."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from interrupted_runs import leftovers, start_program
from kill_counts import Count
from killed_builds import COUNTED, NOTHING, TEXT, Facts, facts, look, recipe, whole_of

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest
from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import Method, TrainingPlan
from weightsmith.errors import BadInput
from weightsmith.files import sweep_leftovers
from weightsmith.hashed import HashedLog
from weightsmith.pipeline import planning, run_pipeline
from weightsmith.settings.loading import load_recipe
from weightsmith.zoo import Zoo, segment, writer
from weightsmith.zoo.build import EpochReport, build_zoo
from weightsmith.zoo.tasks import GroupTask, RunSpec, group_runs

SHORT = ["zoo.epochs=3"]
MLP = Architecture("mlp", (1, 8, 8), 10, {"hidden": [4]})
CNN = Architecture("target_cnn", (1, 8, 8), 10, {"channels1": 2, "channels2": 3, "hidden": 4})
PLAN = TrainingPlan(3, 128, "adam", "fp32")
DIGITS = DatasetRequest("digits", image_size=8)


def grouped(size: int, runs: range = range(6)) -> list[GroupTask]:
    specs = [RunSpec(run, MLP, DIGITS, TrainingPlan(2, 128, "adam", "fp32"), 1e-3 * (1 + run)) for run in runs]
    return group_runs(specs, 0, "stacked", size, "cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What the build of `SHORT` comes to that nobody disturbs."""
    return whole_of(recipe(*SHORT), tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "killed.yaml").write_text(TEXT)
    return ["zoo", "build", str(tmp_path / "killed.yaml"), *SHORT, "--out", str(tmp_path / "run")]


def ended(*arguments: object) -> tuple[int, str]:
    child, pipe = start_program(*arguments)
    with os.fdopen(pipe) as stderr:
        said = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def first_signalled(function: Callable[..., Any], number: int, after: bool = False) -> Callable[..., Any]:
    """`function`, but that a signal comes just before, or after, the first time that it is called."""
    sent: list[int] = []

    def call(*arguments: Any, **options: Any) -> Any:
        found = function(*arguments, **options) if after else None
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return found if after else function(*arguments, **options)

    return call


# Row 4: signals at chosen moments.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_4_a_signal_while_ways_of_training_are_measured(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, program: Run, number: int
) -> None:
    """The folder is as it was, and the same command begins anew."""
    changes = ["zoo.method=auto", "zoo.group_size=0", "zoo.runs=8", "zoo.epochs=1"]
    command = [*arguments, *changes]
    with monkeypatch.context() as patch:
        patch.setattr(planning, "measure_rate", first_signalled(planning.measure_rate, number))
        status, said = ended(*command)
    assert status == 128 + number
    assert f"interrupted by signal {int(number)}" in said
    assert shlex.split(said.partition("resume with: ")[2]) == ["weightsmith", *command]
    assert "Traceback" not in said
    assert list((tmp_path / "run").iterdir()) == []
    done = program(*command)
    assert done.returncode == 0, done.stderr
    assert len(Zoo.open(tmp_path / "run" / "zoo").runs) == 8
    chosen = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert whole_of(chosen, tmp_path / "again") == facts(Zoo.open(tmp_path / "run" / "zoo"))


MOMENTS: dict[str, tuple[Any, str, bool]] = {
    "before a segment is written": (writer, "seal", False),
    "while a segment is written": (segment, "write_tensors", False),
    "between segment and record": (writer, "seal", True),
    "while the record is written": (HashedLog, "_write", False),
    "after the record": (HashedLog, "_write", True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_row_4_a_signal_while_a_group_is_stored(
    tmp_path: Path, arguments: list[str], whole: Facts, monkeypatch: pytest.MonkeyPatch, program: Run, moment: str
) -> None:
    """It is stored first, and the work stops after that."""
    place, name, after = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, first_signalled(getattr(place, name), signal.SIGTERM, after))
        status, said = ended(*arguments)
    assert status == 143, said
    count = Count(*COUNTED)
    assert len(look(tmp_path / "run" / "zoo", whole, NOTHING, count)) == len(whole) / 2
    assert not count.harm
    assert not list(tmp_path.rglob("*.tmp"))
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert facts(Zoo.open(tmp_path / "run" / "zoo")) == whole


@pytest.mark.parametrize("moment", MOMENTS)
def test_row_5_ctrl_c_in_ones_own_program_while_a_group_is_stored(
    tmp_path: Path, whole: Facts, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Where nobody defers signals, KeyboardInterrupt comes at once."""
    place, name, after = MOMENTS[moment]
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, first_signalled(getattr(place, name), signal.SIGINT, after))
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(recipe(*SHORT), run, until="zoo")
    count = Count(*COUNTED)
    look(run / "zoo", whole, NOTHING, count)
    assert not count.harm
    assert facts(Zoo.open(run_pipeline(recipe(*SHORT), run, until="zoo").zoo)) == whole
    assert not leftovers(run)


def test_row_4_threads_are_as_before_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()

    def refuse(*_: object) -> None:
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("in the middle")

    monkeypatch.setattr(writer.ZooWriter, "append", refuse)
    with pytest.raises(RuntimeError) as caught:
        build_zoo(tmp_path / "zoo", grouped(3), LocalEngine(1, before + 1), {})
    assert torch.get_num_threads() == before, f"while {caught.value} and all that it came through are held"


def test_row_3_a_state_is_deleted_after_its_group_is_stored_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    def traced_fsync(descriptor: int) -> None:
        done.append("sync")
        fsync(descriptor)

    def traced_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == "run-0.safetensors":
            done.append("delete the state")
        unlink(self, missing_ok)

    append = HashedLog.append

    def traced_append(self: HashedLog, records: list[dict[str, Any]]) -> str:
        done.append("log")
        return append(self, records)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "unlink", traced_unlink)
    monkeypatch.setattr(HashedLog, "append", traced_append)
    build_zoo(tmp_path, grouped(6), LocalEngine(1, 1), {})
    assert done[-6:] == ["sync", "sync", "log", "sync", "sync", "delete the state"]
    assert done.count("log") == done.count("delete the state") == 1


# Row 6: every way of training.

OWN = """\
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(108, 10)
    )
"""
OWN_NETWORK = Architecture("own_dropout:net", (1, 8, 8), 10, {}, typed_by_user=True)
WAYS: dict[str, tuple[Method, RunSpec]] = {
    "stacked": ("stacked", RunSpec(0, MLP, DIGITS, PLAN, 1e-3)),
    "stacked, the last batch small": (
        "stacked",
        RunSpec(0, MLP, DIGITS, replace(PLAN, batch_size=1000, capture_steps=1), 1e-3),
    ),
    "stacked, all of one batch": ("stacked", RunSpec(0, MLP, DIGITS, replace(PLAN, order_seed=5), 1e-3, 1e-4)),
    "vmap": ("vmap", RunSpec(0, CNN, DIGITS, replace(PLAN, capture_steps=5), 1e-3)),
    "loop": ("loop", RunSpec(0, CNN, DIGITS, replace(PLAN, optimizer="sgd", capture_steps=4), 1e-3, momentum=0.5)),
    "loop, statistics and dropout": ("loop", RunSpec(0, OWN_NETWORK, DIGITS, PLAN, 1e-3, 1e-4)),
}


@pytest.fixture(scope="module")
def own_networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "own_dropout.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.mark.usefixtures("own_networks")
@pytest.mark.parametrize("rates", [1, 2], ids=["one rate", "two rates"])
@pytest.mark.parametrize("way", WAYS)
def test_row_6_every_way_of_training_is_resumed_bitwise(tmp_path: Path, way: str, rates: int) -> None:
    """Interrupted after each of its epochs."""
    method, spec = WAYS[way]
    specs = [replace(spec, run=run, learning_rate=1e-3 * (1 + run % rates)) for run in range(2)]
    tasks = group_runs(specs, 0, method, 2, "cpu")
    straight = facts(build_zoo(tmp_path / "straight", tasks, LocalEngine(1, 1), {}))
    heard: list[EpochReport] = []

    def stop(report: EpochReport) -> None:
        heard.append(report)
        if not report.resumed:
            raise KeyboardInterrupt

    for _ in range(3 * len(tasks)):
        with pytest.raises(KeyboardInterrupt):
            build_zoo(tmp_path / "halting", tasks, LocalEngine(1, 1), {}, stop)
    assert facts(build_zoo(tmp_path / "halting", tasks, LocalEngine(1, 1), {})) == straight
    assert [report.epoch for report in heard if report.resumed] == [1, 2] + [3, 1, 2] * (len(tasks) - 1)


# Row 8: groups and states that do not belong together.


def test_row_8_a_group_that_is_there_in_part_is_refused_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = build_zoo(tmp_path, grouped(2)[:1], LocalEngine(1, 1), {})
    before = facts(zoo)
    monkeypatch.setattr("weightsmith.zoo.build.train_networks", lambda *_, **__: pytest.fail("work has started"))
    with pytest.raises(BadInput, match=r"runs 0, 1 (.|\n)*trained together with run 2(.|\n)*remedy: "):
        build_zoo(tmp_path, grouped(3), LocalEngine(1, 1), {})
    assert facts(Zoo.open(tmp_path)) == before
    assert not (tmp_path / "unfinished").exists()


def interrupted(tasks: list[GroupTask], path: Path, groups: int) -> None:
    """Stop in the last of so many groups, after its first epoch."""
    seen: set[Any] = set()

    def stop(report: Any) -> None:
        seen.add(report.run)
        if len(seen) == groups:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_zoo(path, tasks, LocalEngine(1, 1), {}, stop)


def test_row_8_a_state_of_other_groups_is_refused(tmp_path: Path) -> None:
    interrupted(grouped(2), tmp_path, groups=1)
    state = tmp_path / "unfinished" / "run-0.safetensors"
    saved = state.read_bytes()
    with pytest.raises(BadInput, match=r"run-0.safetensors belongs to a run with other settings(.|\n)*delete it, or"):
        build_zoo(tmp_path, grouped(3), LocalEngine(1, 1), {})
    assert state.read_bytes() == saved
    assert len(build_zoo(tmp_path, grouped(2), LocalEngine(1, 1), {})) == 6 * 3
    assert not (tmp_path / "unfinished").exists()


def test_row_2_states_of_runs_that_are_stored_are_swept(tmp_path: Path) -> None:
    """Whatever group they were of; those of other runs, and files of others, are left."""
    interrupted(grouped(2, range(2, 8)), tmp_path, groups=1)
    notes = tmp_path / "unfinished" / "notes.txt"
    notes.write_bytes(b"mine")
    interrupted(grouped(2, range(8, 12)), tmp_path, groups=1)
    build_zoo(tmp_path, grouped(6), LocalEngine(1, 1), {})
    assert sorted(path.name for path in notes.parent.iterdir()) == ["notes.txt", "run-8.safetensors"]
    notes.unlink()
    build_zoo(tmp_path, grouped(2, range(8, 12)), LocalEngine(1, 1), {})
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.parametrize("process", ["9" * 30, "²", "-1", "1 ", "01x"])
def test_row_2_names_that_are_nearly_ours_are_left(tmp_path: Path, process: str) -> None:
    file = tmp_path / f".weightsmith-{socket.gethostname()}-{process}-01234567.tmp"
    file.write_bytes(b"mine")
    assert sweep_leftovers(tmp_path) == []
    assert file.read_bytes() == b"mine"
