"""Rows 7 to 12 for zoos that are built: other workers, other recipes, full disks, no permission, two at once."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from damage import fill
from interrupted_runs import leftovers, start_program
from kill_counts import Count
from killed_builds import COUNTED, NOTHING, TEXT, Facts, facts, fork_workers, look, recipe, whole_of
from small_zoo import NOBODY, as_nobody, in_child

from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import Capture, train_networks
from weightsmith.errors import BadInput, EnvironmentFault, Interrupted
from weightsmith.interruption import deferred_signals
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.settings.recipe import Recipe
from weightsmith.tensorfile import read_state
from weightsmith.zoo import Zoo, ZooWriter, build, unfinished
from weightsmith.zoo.build import EpochReport, build_zoo
from weightsmith.zoo.tasks import group_runs

SHORT = ["zoo.epochs=3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What the build of `SHORT` comes to that nobody disturbs."""
    return whole_of(recipe(*SHORT), tmp_path_factory.mktemp("whole") / "run")


class Stop(KeyboardInterrupt):
    """As Ctrl-C in somebody's own program."""


def stop_in_second_group(wanted: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run which has stored its first group, and was stopped after the second epoch of the other."""
    groups = 0

    def until(*arguments: Any, **options: Any) -> Iterator[Capture]:
        nonlocal groups
        groups += 1
        for capture in train_networks(*arguments, **options):
            yield capture
            if (groups, capture.epoch) == (2, 2):
                raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(build, "train_networks", until)
        with pytest.raises(Stop):
            run_pipeline(wanted, run, until="zoo")
    assert len(list((run / "zoo" / "unfinished").iterdir())) == Zoo.open(run / "zoo").segments == 1


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stop_in_second_group(recipe(*SHORT), tmp_path / "run", monkeypatch)
    return tmp_path / "run"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def completes(run: Path, wanted: Recipe, whole: Facts) -> bool:
    """Whether the same again ends as if nothing had been."""
    return facts(Zoo.open(run_pipeline(wanted, run, until="zoo").zoo)) == whole and not leftovers(run)


# Row 7: another number of workers.


def test_row_7_other_workers_in_the_recipe_are_refused_by_name(interrupted: Path, whole: Facts) -> None:
    before = files(interrupted)
    for change, named in (("zoo.workers=2", "zoo.workers: 1 -> 2"), ("zoo.threads=2", "zoo.threads: 1 -> 2")):
        with pytest.raises(BadInput, match=rf"holds a run of another recipe:\n *{named}\n(.|\n)*to resume"):
            run_pipeline(recipe(*SHORT, change), interrupted, until="zoo")
        assert files(interrupted) == before
    assert completes(interrupted, recipe(*SHORT), whole)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 3)])
def test_row_7_an_engine_of_other_workers_goes_on_to_the_same_zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Facts, first: int, then: int
) -> None:
    fork_workers(monkeypatch)
    tasks, path = RunFolder.prepare(tmp_path / "run", recipe(*SHORT)).plan.tasks, tmp_path / "zoo"
    heard: list[EpochReport] = []

    def held(*arguments: Any, check: Callable[[], None], **options: Any) -> Iterator[Capture]:
        for capture in train_networks(*arguments, check=check, **options):
            yield capture
            while capture.epoch == 2:  # until somebody interrupts
                time.sleep(0.01)
                check()

    def interrupt(report: EpochReport) -> None:
        heard.append(report)
        if len(heard) == 2 * first:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(build, "train_networks", held)
        with deferred_signals(), pytest.raises(Interrupted):
            build_zoo(path, tasks, LocalEngine(first, 1), {}, interrupt)
    assert len(list((path / "unfinished").iterdir())) == first
    again: list[EpochReport] = []
    assert facts(build_zoo(path, tasks, LocalEngine(then, 1), {}, again.append)) == whole
    assert [(report.epoch, report.epochs) for report in again if report.resumed] == [(2, 2)] * first
    assert not (path / "unfinished").exists()


# Row 8: another recipe, other data.


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("vary.learning_rate.high=2e-2", r"vary.learning_rate.high: 0.01 -> 0.02"),
        ("vary.learning_rate=[1e-3, 1e-2]", r"vary.learning_rate.choices: None -> \[0.001, 0.01\]"),
        ("vary.weight_decay=[0, 1e-4]", r"vary.weight_decay: None -> \(not set\)"),
        ("vary.options={hidden: [[4], [5]]}", r"vary.options"),
        ("zoo.group_size=2", r"zoo.group_size: 3 -> 2"),
        ("zoo.capture_steps=2", r"zoo.capture_steps: 0 -> 2"),
    ],
)
def test_row_8_another_recipe_is_refused_and_named(interrupted: Path, change: str, named: str) -> None:
    before = files(interrupted)
    with pytest.raises(BadInput, match=named):
        run_pipeline(recipe(*SHORT, change), interrupted, until="zoo")
    assert files(interrupted) == before


def write_images(path: Path, seed: int, changed: bool = False) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    images[7, 2, 3] ^= changed
    np.savez(path, x_train=images, y_train=np.arange(60) % 2)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_row_8_one_of_several_data_sets_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """By the lowest bit of one pixel."""
    paths = [tmp_path / f"mine{seed}.npz" for seed in range(3)]
    for seed, path in enumerate(paths):
        write_images(path, seed)
    wanted = recipe(*SHORT, f"vary.dataset=[{', '.join(map(str, paths))}]", "zoo.runs=8")
    whole, run = whole_of(wanted, tmp_path / "whole"), tmp_path / "run"
    stop_in_second_group(wanted, run, monkeypatch)
    before = files(run)
    write_images(paths[number], number, changed=True)
    with pytest.raises(BadInput, match=rf"mine{number}.npz' is not the one that (.|\n)*restore the data"):
        run_pipeline(wanted, run, until="zoo")
    assert files(run) == before
    write_images(paths[number], number)
    assert completes(run, wanted, whole)


# Row 9: full disks.


@pytest.mark.parametrize("share", [0.01, float("inf")], ids=["seldom saved", "always saved"])
def test_row_9_full_disk_anywhere_in_a_build(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """The same build, given a little more space each time, gets further each time, and ends as if never stopped."""
    monkeypatch.setattr(unfinished, "SAVING_SHARE", share)
    wanted = recipe("zoo.epochs=12")
    whole, run, count = whole_of(wanted, tmp_path / "whole"), small_disk / "run", Count(*COUNTED)
    refusals, before = list[EnvironmentFault](), NOTHING
    for leave in range(4, 600, 8):
        filler = fill(small_disk, leave * 1024)
        try:
            run_pipeline(wanted, run, until="zoo")
            break
        except EnvironmentFault as error:
            refusals.append(error)
        finally:
            filler.unlink()
        assert not list(small_disk.rglob("*.tmp"))
        before = look(run / "zoo", whole, before, count)
    assert not count.harm
    assert all(error.message.startswith("cannot write") for error in refusals)
    assert all("free some disk space and run the same command again" in error.remedy for error in refusals)
    met = [re.search(r"run\.json|zoo\.json|segments|unfinished|$", error.message) for error in refusals]
    where = {found.group() for found in met if found}
    assert "unfinished" in where
    assert "segments" in where or share > 1, "a state that can be saved leaves the space for its segment"
    assert completes(run, wanted, whole)


def test_row_9_full_disk_while_a_state_is_written(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, whole: Facts
) -> None:
    monkeypatch.setattr(unfinished, "SAVING_SHARE", float("inf"))
    tasks, path = RunFolder.prepare(small_disk / "run", recipe(*SHORT)).plan.tasks, small_disk / "zoo"
    state, kept = path / "unfinished" / "run-3.safetensors", []

    def fill_up(report: EpochReport) -> None:
        if (report.run, report.epoch) == (3, 1):
            kept.append((fill(small_disk, 4096), state.read_bytes(), files(path / "segments")))

    with pytest.raises(EnvironmentFault, match=r"cannot write .*unfinished/run-3(.|\n)*free some disk space"):
        build_zoo(path, tasks, LocalEngine(1, 1), {}, fill_up)
    ((filler, saved, segments),) = kept
    assert state.read_bytes() == saved
    assert read_state(state)[1]["epoch"] == 1
    assert files(path / "segments") == segments != {}
    filler.unlink()
    assert facts(build_zoo(path, tasks, LocalEngine(1, 1), {})) == whole
    assert not leftovers(small_disk)


def test_row_9_workers_are_stopped_when_a_segment_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not left to train what nobody will store."""
    fork_workers(monkeypatch)
    specs = RunFolder.prepare(tmp_path / "run", recipe("zoo.epochs=1")).plan.specs
    long = recipe("zoo.epochs=100000")
    tasks = [
        *group_runs(specs[:3], 0, "stacked", 3, "cpu"),
        *group_runs(RunFolder.prepare(tmp_path / "long", long).plan.specs[3:], 0, "stacked", 1, "cpu"),
    ]

    others_at_work, refused = threading.Event(), list[float]()

    def hear(report: EpochReport) -> None:
        if report.run in (3, 4, 5):
            others_at_work.set()

    def refuse(*_: object) -> None:
        assert others_at_work.wait(60)
        refused.append(time.monotonic())
        raise EnvironmentFault("cannot write the segment", "free some disk space")

    monkeypatch.setattr(ZooWriter, "append", refuse)
    with pytest.raises(EnvironmentFault, match="cannot write the segment"):
        build_zoo(tmp_path / "zoo", tasks, LocalEngine(2, 1), {}, hear)
    assert time.monotonic() - refused[0] < 30
    assert list((tmp_path / "zoo" / "unfinished").iterdir())
    with Zoo.writer(tmp_path / "zoo"):
        pass


# Row 10: no permission.


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def build_as_nobody(run: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said when somebody without permission builds; ends the child where networks are trained."""
    monkeypatch.setattr(build, "train_networks", lambda *_, **__: os._exit(9))
    status, said = in_child(as_nobody(lambda: run_pipeline(recipe(*SHORT), run, until="zoo")))
    assert status == 1
    return said.partition("weightsmith.errors.")[2]


only_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become another user")


@only_root
@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("begun", [False, True])
def test_row_10_without_permission_nothing_starts(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    run = open_folder / "run"
    if begun:
        stop_in_second_group(recipe(*SHORT), run, monkeypatch)
    before = files(open_folder)
    said = build_as_nobody(run, monkeypatch)
    assert said.startswith(f"EnvironmentFault: cannot write {run}: Permission denied")
    assert "remedy: choose a folder that you may write to" in said
    assert files(open_folder) == before


@only_root
@pytest.mark.parametrize("closed", ["zoo", "zoo/segments", "zoo/unfinished"])
def test_row_10_a_part_of_the_zoo_that_cannot_be_written(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """As after a build that was once begun by another user."""
    run = open_folder / "run"
    stop_in_second_group(recipe(*SHORT), run, monkeypatch)
    for path in (run, *run.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chown(run / closed, 0, 0)
    before = files(open_folder)
    said = build_as_nobody(run, monkeypatch)
    assert said.startswith(f"EnvironmentFault: cannot write {run / closed}")
    assert "remedy: choose a folder that you may write to, or change its permissions" in said
    assert files(open_folder) == before


@only_root
def test_row_10_a_state_that_cannot_be_read_is_not_thrown_away(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, whole: Facts
) -> None:
    run = open_folder / "run"
    stop_in_second_group(recipe(*SHORT), run, monkeypatch)
    for path in (run, *run.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    state = run / "zoo" / "unfinished" / "run-3.safetensors"
    os.chown(state, 0, 0)
    state.chmod(0o600)
    before = files(open_folder)
    with monkeypatch.context() as patch:
        said = build_as_nobody(run, patch)
    assert f"cannot read {state}: Permission denied" in said
    assert files(open_folder) == before
    assert completes(run, recipe(*SHORT), whole)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "killed.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("place", ["run", "run/zoo"])
def test_row_10_the_output_is_a_file(tmp_path: Path, recipe_file: Path, program: Run, place: str) -> None:
    arguments = ["zoo", "build", recipe_file, *SHORT, "--out", tmp_path / "run"]
    if place == "run/zoo":
        RunFolder.prepare(tmp_path / "run", recipe(*SHORT))
    (tmp_path / place).write_bytes(b"x")
    before = files(tmp_path)
    done = program(*arguments)
    assert done.returncode == 1
    assert f"{tmp_path / place} is a file" in done.stderr
    assert "remedy: choose another output folder" in done.stderr
    assert {path: data for path, data in files(tmp_path).items() if path.name != ".lock"} == before


# Row 11: two at once; row 12: a lock whose owner is dead.


def end(child: int, pipe: int) -> tuple[int, str]:
    with os.fdopen(pipe) as stderr:
        said = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def test_row_11_a_second_build_is_told_and_the_first_goes_on(
    tmp_path: Path, recipe_file: Path, program: Run, whole: Facts
) -> None:
    run = tmp_path / "run"
    arguments = ["zoo", "build", recipe_file, *SHORT, "--out", run]
    child, pipe = start_program(*arguments, hold="training")
    with os.fdopen(pipe) as stderr:
        next(line for line in stderr if line.startswith("training"))
        second = program(*arguments)
        os.kill(child, signal.SIGTERM)
        said = stderr.read()
    assert second.returncode == 1
    assert f"error: another process is writing the run {run}" in second.stderr
    assert "remedy: wait until it has finished, or stop it" in second.stderr
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143, said
    assert completes(run, recipe(*SHORT), whole)


def test_row_11_builds_that_start_at_once(tmp_path: Path, recipe_file: Path, whole: Facts) -> None:
    rng = random.Random(0)
    for attempt in range(5):
        run, children = tmp_path / str(attempt), []
        for _ in range(3):
            children.append(start_program("zoo", "build", recipe_file, *SHORT, "--out", run))
            time.sleep(rng.uniform(0, 0.02))
        ended = [end(*child) for child in children]
        told = ("another process is writing the run", "is not a weightsmith run and not empty")  # but begun just now
        assert all(status == 0 or any(text in said for text in told) for status, said in ended), ended
        assert 0 in [status for status, _ in ended]
        assert facts(Zoo.open(run / "zoo")) == whole
        assert not leftovers(run)


def test_row_12_the_locks_of_a_killed_build_are_taken_over(
    tmp_path: Path, recipe_file: Path, program: Run, whole: Facts
) -> None:
    arguments = ["zoo", "build", recipe_file, *SHORT, "--out", tmp_path / "run"]
    child, pipe = start_program(*arguments, hold="training")
    with os.fdopen(pipe) as stderr:
        next(line for line in stderr if line.startswith("training"))
        assert program(*arguments).returncode == 1
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob(".lock")} == {
        Path("run/.lock"),
        Path("run/zoo/.lock"),
    }
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert facts(Zoo.open(tmp_path / "run" / "zoo")) == whole


@pytest.mark.slow
def test_rows_6_and_12_a_build_killed_while_its_workers_are_at_work(
    tmp_path: Path, recipe_file: Path, program: Run
) -> None:
    """The workers, which may outlive it, hold no lock and disturb nothing."""
    changes, run = ["zoo.epochs=300", "zoo.group_size=2"], tmp_path / "run"
    arguments = ["zoo", "build", recipe_file, *changes, "zoo.workers=2", "--out", run]
    child, pipe = start_program(*arguments)
    with os.fdopen(pipe) as stderr:
        next(line for line in stderr if ": epoch " in line)
        children = Path(f"/proc/{child}/task/{child}/children").read_text().split()
        workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    try:
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert len(workers) == 2
    assert facts(Zoo.open(run / "zoo")) == whole_of(recipe(*changes), tmp_path / "whole")
    assert not leftovers(run)
