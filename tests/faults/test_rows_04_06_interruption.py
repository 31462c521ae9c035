"""Rows 4 and 6: signals and kills while building and training; rows 8 and 29: changed recipes, divergence."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from interrupted_runs import TEXT, leftovers, outcome, recipe, start, start_program
from kill_counts import Count
from through_kills import Moments, ended_through_kills

from weightsmith.architectures import Architecture
from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import Capture, train_networks
from weightsmith.errors import BadInput, Diverged
from weightsmith.pipeline import run_pipeline, stages
from weightsmith.reporter import Silent
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Synthesizer
from weightsmith.training import trainer
from weightsmith.zoo import Zoo, build
from weightsmith.zoo.unfinished import StateFile


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody interrupted."""
    return run_pipeline(recipe(), tmp_path_factory.mktemp("whole") / "run", until="train").path


LONG = ["zoo.epochs=40"]  # so that workers are still at it when they are told to stop


@pytest.fixture(scope="module")
def long_whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(run_pipeline(recipe(*LONG), tmp_path_factory.mktemp("long") / "run", until="zoo").path)[0]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "interrupted.yaml"
    path.write_text(TEXT)
    return path


def signal_at(line: str, child: int, pipe: int, number: int, send: Any = os.kill) -> tuple[int, str]:
    """Send the signal when the child's stderr shows `line`; its exit status and all that it said."""
    with os.fdopen(pipe) as stderr:
        said = ""
        for text in stderr:
            said += text
            if line in text:
                send(child, number)
                break
        said += stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def test_a_program_that_is_watched_has_no_handlers_of_the_tests_process() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # as that of a Ray node
    try:
        child, pipe = start(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    os.close(pipe)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("] run 0: epoch 1 of 8", "zoo/unfinished/run-0.safetensors"),
        ("] generator 0: epoch 1,", "synthesizer/pipeline-0/_unfinished.safetensors"),
    ],
    ids=["building", "training"],
)
def test_a_signal_saves_the_state_and_says_how_to_resume(
    whole: Path, recipe_file: Path, tmp_path: Path, program: Run, number: int, line: str, state: str
) -> None:
    run = tmp_path / "my run"
    status, said = signal_at(line, *start_program("train", recipe_file, "--out", run, hold=line), number)
    assert status == 128 + number
    assert f"interrupted by signal {int(number)}, state saved" in said
    assert "Traceback" not in said
    assert (run / state).is_file()
    command = shlex.split(said.partition("resume with: ")[2])
    assert command == ["weightsmith", "train", str(recipe_file), "--out", str(run)]
    done = program(*command[1:])
    assert done.returncode == 0, done.stderr
    assert outcome(run) == outcome(whole)
    assert not leftovers(run)


def test_what_two_workers_began_one_can_finish(
    long_whole: Any, recipe_file: Path, tmp_path: Path, program: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    arguments = ["zoo", "build", recipe_file, *LONG, "zoo.workers=2", "--out", run]
    status, said = signal_at(": epoch ", *start_program(*arguments), signal.SIGTERM)
    assert status == 143, said
    assert "resume with: weightsmith zoo build" in said
    assert list((run / "zoo" / "unfinished").iterdir())
    monkeypatch.setattr(stages, "LocalEngine", lambda workers, threads: LocalEngine(1, threads))
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert outcome(run)[0] == long_whole
    assert not leftovers(run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_is_an_interruption(
    long_whole: Any, recipe_file: Path, tmp_path: Path, program: Run, number: int
) -> None:
    """As Ctrl-C on a terminal, or a job scheduler."""
    run = tmp_path / "run"
    arguments = ["zoo", "build", recipe_file, *LONG, "zoo.workers=2", "--out", run]
    child, pipe = start_program(*arguments)
    os.setpgid(child, child)
    status, said = signal_at(": epoch ", child, pipe, number, os.killpg)
    assert status == 128 + number, said
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert outcome(run)[0] == long_whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_the_run_resumed(
    long_whole: Any, recipe_file: Path, tmp_path: Path, program: Run
) -> None:
    run = tmp_path / "run"
    arguments = ["zoo", "build", recipe_file, *LONG, "zoo.workers=2", "--out", run]
    child, pipe = start_program(*arguments)
    with os.fdopen(pipe) as stderr:
        next(text for text in stderr if ": epoch " in text)
        children = Path(f"/proc/{child}/task/{child}/children").read_text().split()
        workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        said = stderr.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert "a worker process died" in said
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert outcome(run)[0] == long_whole


def work(run: Path) -> None:
    run_pipeline(recipe(), run, until="train")


def state_left(run: Path) -> bool:
    """Whether a network or a generator is there in part."""
    return any(run.glob("zoo/unfinished/run-*")) or any(run.glob("synthesizer/*/_unfinished.safetensors"))


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_change_nothing(whole: Path, tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.02)  # so that trainings, too, are resumed in their middle
    count = Count()
    for run in ended_through_kills(work, tmp_path, count, kills, Moments(0.5, seed=kills), state_left):
        assert outcome(run) == outcome(whole)
        assert not leftovers(run)
    assert count["amid"] > 0


class Stop(KeyboardInterrupt):
    """As Ctrl-C in somebody's own program: the last whole epoch is saved."""


def interrupted_at(run: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """A run that stopped in the epoch after `epoch` of its first network."""

    def until(*arguments: Any, **options: Any) -> Iterator[Capture]:
        for capture in train_networks(*arguments, **options):
            yield capture
            if capture.epoch == epoch:
                raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(build, "train_networks", until)
        with pytest.raises(Stop):
            run_pipeline(recipe(), run, until="zoo")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_epoch_can_be_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    wanted = recipe("zoo.runs=1", "zoo.epochs=3", f"zoo.optimizer={optimizer}")
    straight = outcome(run_pipeline(wanted, tmp_path / "straight", until="zoo").path)

    def one_epoch(*arguments: Any, **options: Any) -> Iterator[Capture]:
        yield next(train_networks(*arguments, **options))
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(build, "train_networks", one_epoch)
        for _ in range(3):
            with pytest.raises(Stop):
                run_pipeline(wanted, tmp_path / "halting", until="zoo")
    assert outcome(run_pipeline(wanted, tmp_path / "halting", until="zoo").path) == straight


def test_a_damaged_state_costs_time_and_nothing_else(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    interrupted_at(run, monkeypatch, 2)
    state = run / "zoo" / "unfinished" / "run-0.safetensors"
    data = bytearray(state.read_bytes())
    data[-3] ^= 16  # a bit of a moment of the optimizer
    state.write_bytes(data)
    run_pipeline(recipe(), run, until="zoo")
    assert outcome(run)[0] == outcome(whole)[0]


def test_no_bit_of_a_state_can_change_unnoticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_at(tmp_path / "run", monkeypatch, 1)
    state = tmp_path / "run" / "zoo" / "unfinished" / "run-0.safetensors"
    data = state.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    task = json.loads(header["__metadata__"]["state"])["task"]
    layout = Architecture("target_cnn", (1, 8, 8), 10, {"channels1": 2, "channels2": 3, "hidden": 4}).layout
    assert StateFile(state, task).load(layout) is not None
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        state.write_bytes(changed)
        assert StateFile(state, task).load(layout) is None, f"byte {position}"


def test_resume_with_another_recipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 8, in the middle of the work; the rest of it stands in `tests/pipeline`."""
    run = tmp_path / "run"
    interrupted_at(run, monkeypatch, 2)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"zoo.epochs: 8 -> 13\n *zoo.learning_rate: 0.001 -> 0.01\n"):
        run_pipeline(recipe("zoo.epochs=13", "zoo.learning_rate=0.01"), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_zoo_that_diverges_is_kept_and_refused(recipe_file: Path, tmp_path: Path, program: Run) -> None:
    arguments = ["train", recipe_file, "zoo.optimizer=sgd", "zoo.learning_rate=1e30", "--out", tmp_path / "run"]
    for _ in range(2):  # running again says the same
        done = program(*arguments)
        assert done.returncode == 1
        assert "every run diverged: run 0: " in done.stderr
        assert "lower zoo.learning_rate" in done.stderr
        assert "Traceback" not in done.stderr
    zoo = Zoo.open(tmp_path / "run" / "zoo")
    assert [(row.run, row.step) for row in zoo.rows] == [(0, 0), (1, 0)], "the last good state is the first"
    assert all("diverged" in row.extra for row in zoo.rows)
    assert not (tmp_path / "run" / "synthesizer").exists()


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def diverging(run: int, epoch: int) -> Any:
    """`train_networks`, but that the given run meets NaN in the given epoch."""
    seed = derive_seed(recipe().seed, "zoo", "run", run)

    def train(module: Any, weights: Any, split: Any, plan: Any, members: Any, **options: Any) -> Iterator[Capture]:
        hit = torch.tensor([member.seed == seed for member in members])
        for capture in train_networks(module, weights, split, plan, members, **options):
            lost = hit if capture.epoch >= epoch else torch.zeros_like(hit)
            yield replace(capture, losses=capture.losses.masked_fill(lost, float("nan")))

    return train


def test_one_run_that_diverges_late_is_kept_to_its_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe("zoo.runs=3", "zoo.epochs=3", "training.budgets={converged: 20}")
    monkeypatch.setattr(build, "train_networks", diverging(1, 3))
    notes = Notes()
    run = run_pipeline(wanted, tmp_path / "run", until="evaluate", reporter=notes)
    zoo = Zoo.open(run.zoo)
    assert [[row.step for row in zoo.select(run=name)] for name in zoo.runs] == [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3]]
    assert notes.notes == ["run 1: loss is nan in epoch 3; kept up to its last good epoch"]
    assert build.divergences(zoo) == {1: "run 1: loss is nan in epoch 3"}
    assert Synthesizer.load(run.synthesizer(1, "converged")).provenance["trained on"].endswith("3 checkpoints")


def test_one_run_that_diverges_at_once_cannot_be_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe("zoo.runs=2", "zoo.epochs=3")
    monkeypatch.setattr(build, "train_networks", diverging(1, 1))
    for _ in range(2):
        with pytest.raises(Diverged, match=r"run 1: loss is nan in epoch 1(.|\n)*lower zoo.learning_rate"):
            run_pipeline(wanted, tmp_path / "run")
    zoo = Zoo.open(tmp_path / "run" / "zoo")
    assert [len(zoo.select(run=name)) for name in (0, 1)] == [4, 1]


@pytest.mark.parametrize(
    "changes",
    [
        ["training.learning_rate=1e30"],
        [
            "training.learning_rate=1e30",
            "zoo.epochs=1",
            "training.budgets={untrained: 0, one: 1}",
            "training.headline=one",
        ],
    ],
    ids=["loss of an epoch", "loss after the last"],
)
def test_a_generator_that_diverges(recipe_file: Path, tmp_path: Path, program: Run, changes: list[str]) -> None:
    for _ in range(2):
        done = program("train", recipe_file, *changes, "--out", tmp_path / "run")
        assert done.returncode == 1
        assert "training loss is" in done.stderr
        assert "lower training.learning_rate" in done.stderr
        assert "Traceback" not in done.stderr
    assert Zoo.open(tmp_path / "run" / "zoo").verify().rows == len(Zoo.open(tmp_path / "run" / "zoo"))
    kept = sorted(path.name for path in (tmp_path / "run" / "synthesizer" / "pipeline-0").iterdir() if path.is_dir())
    assert kept == ["untrained"], "what was good before is kept"
    Synthesizer.load(tmp_path / "run" / "synthesizer" / "pipeline-0" / "untrained")


def test_a_generator_whose_samples_blow_up_is_measured_without_sentinels(tmp_path: Path) -> None:
    changes = ["training.learning_rate=1e4", "training.budgets={wild: 3}", "training.headline=wild", "zoo.epochs=2"]
    run = run_pipeline(recipe(*changes, "zoo.runs=1", "evaluation.steps=10"), tmp_path / "run", until="evaluate")
    records = [json.loads(line)["record"] for line in run.records.read_text().splitlines()]
    generated = [record for record in records if record["kind"] == "generated"]
    broken = [record["metrics"] for record in generated if record["metrics"]["accuracy"] is None]
    assert broken, "10 steps of a wild generator overflow"
    assert all(metrics["loss"] is None and metrics["note_loss"] is None for metrics in broken)
    assert len(generated) == 2 * 10
