"""Rows 2, 4, 5 and 6 as loops of kills at random moments while zoos are built; those of row 1 are with its files."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from pathlib import Path

import jaxtyping
import pytest
import torch
from kill_counts import Count, record
from killed_builds import CASES, TEXT, build_through_kills, fork_workers, logged, recipe, whole_of
from signalled_builds import build_through_signals
from small_zoo import PROVENANCE, info, kill_while, network
from through_kills import Moments

from weightsmith import console
from weightsmith.engines.local import LocalEngine
from weightsmith.hashed import HashedLog, write_sealed_json
from weightsmith.layout import Layout, TensorSpec, Weights
from weightsmith.tensorfile import write_state
from weightsmith.zoo import RowInfo, Zoo, unfinished
from weightsmith.zoo.build import build_zoo

WIDE = Layout((TensorSpec("w", (50_000,), "float32", "weight"),))


def loop(short: int, long: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kills", [short, pytest.param(long, marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are checked in other tests; here that would take half of the time."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def planted(path: Path) -> dict[Path, bytes]:
    """Files that look like leftovers and are none of ours, or of a process that lives."""
    host = socket.gethostname()
    names = [
        f".weightsmith-elsewhere{host}-1-01234567.tmp",
        f".weightsmith-{host}-{os.getpid()}-01234567.tmp",
        ".weightsmith-notes.tmp",
        "mine.tmp",
    ]
    files = {
        folder / name: name.encode() for folder in (path, path / "segments", path / "unfinished") for name in names
    }
    for file, data in files.items():
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    return files


@loop(20, 200)
def test_row_2_leftovers_of_killed_writers_are_swept_and_nothing_else(tmp_path: Path, kills: int) -> None:
    path, count, moments = tmp_path / "zoo", Count("swept", "lost", "different", "leftovers"), Moments(0.04, kills)
    foreign: dict[Path, bytes] = {}

    def write() -> None:
        with Zoo.writer(path) as writer:
            for run in itertools.count(len(writer.zoo)):
                weights = Weights(WIDE, torch.full((1, 50_000), float(run)), {})
                writer.append(weights, [RowInfo(run, 0, 0)], PROVENANCE)
                write_sealed_json(path / "notes.json", [run] * 5000)
                write_state(path / "unfinished" / "run-0.safetensors", {"w": weights.vectors}, {"run": run})

    before = 0
    for kill in range(kills):
        if kill % 20 == 0:  # so that it stays small
            shutil.rmtree(path, ignore_errors=True)
            Zoo.create(path, {})
            foreign, before = planted(path), 0
        kill_while(write, moments.draw())
        left = set(path.rglob("*.tmp")) - foreign.keys()
        zoo = build_zoo(path, [], LocalEngine(1, 1), {})
        count["kills"] += 1
        count["amid"] += bool(left)
        count["swept"] += sum(1 for file in left if not file.exists())
        count["leftovers"] += len(set(path.rglob("*.tmp")) - foreign.keys())
        count["lost"] += sum(1 for file, data in foreign.items() if not file.exists() or file.read_bytes() != data)
        count["lost"] += max(0, before - len(zoo))
        count["different"] += sum(
            1 for weights, (row,) in zoo.batches(size=1) if bool((weights.vectors != row.run).any())
        )
        before = len(zoo)
        moments.adapt(hit=True, amid=before > 0)
    record("a writer of large networks, documents and states", count)
    assert not count.harm
    assert count["swept"] >= count["amid"]
    assert count["amid"] > 0 or kills < 200


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program tells of every epoch."""
    monkeypatch.setattr(console, "LINE_EVERY_SECONDS", -1.0)


@pytest.fixture
def build_command(tmp_path: Path) -> list[str]:
    (tmp_path / "killed.yaml").write_text(TEXT)
    return ["zoo", "build", str(tmp_path / "killed.yaml"), "zoo.epochs=12", "zoo.group_size=2"]


@pytest.mark.usefixtures("every_line")
@loop(12, 200)
def test_row_4_signals_at_random_moments_in_one_process(tmp_path: Path, build_command: list[str], kills: int) -> None:
    whole = whole_of(recipe(*build_command[3:]), tmp_path / "whole")
    count = build_through_signals(build_command, whole, tmp_path / "runs", kills, longest=0.3)
    record("zoo build, signalled: one process", count)
    assert not count.harm
    assert count["amid"] > 0


@pytest.mark.usefixtures("every_line")
@loop(8, 100)
def test_row_4_signals_at_random_moments_in_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_command: list[str], kills: int
) -> None:
    fork_workers(monkeypatch)
    whole = whole_of(recipe(*build_command[3:]), tmp_path / "whole")
    count = build_through_signals([*build_command, "zoo.workers=2"], whole, tmp_path / "runs", kills, longest=0.3)
    record("zoo build, signalled: two worker processes", count)
    assert not count.harm
    assert count["amid"] > 0


@loop(20, 200)
def test_row_5_killed_between_segment_and_record(tmp_path: Path, kills: int) -> None:
    path, count, before = tmp_path / "zoo", Count("lost", "different", "ghosts", "orphans"), 0
    moments = Moments(0.02, kills)

    def append() -> None:
        with Zoo.writer(path) as writer:
            for run in itertools.count(len(writer.zoo) // 2):
                writer.append(network(run, 2), [info(run, 0), info(run, 1)], PROVENANCE)

    Zoo.create(path, {})
    for _ in range(kills):
        kill_while(append, moments.draw())
        sealed = {file.name for file in (path / "segments").glob("*.safetensors")}
        records = [entry["file"] for entry in HashedLog(path / "records.jsonl").read().records]
        zoo = Zoo.open(path)
        count["kills"] += 1
        count["amid"] += len(records) < len(sealed)
        count["lost"] += max(0, before - len(zoo))
        count["ghosts"] += len(set(records) - sealed) + max(0, len(zoo) - 2 * len(sealed))
        count["orphans"] += max(0, 2 * len(sealed) - len(zoo))
        for run in range(before // 2, len(zoo) // 2):
            found, wanted = zoo.read(zoo.select(run=run)), network(run, 2)
            count["different"] += not torch.equal(found.vectors, wanted.vectors)
            count["different"] += not torch.equal(found.integers["n"], wanted.integers["n"])
        with Zoo.writer(path):
            pass
        count["orphans"] += len(sealed) - logged(path)
        before = len(zoo)
        moments.adapt(hit=True, amid=before > 0)
    Zoo.open(path).verify()
    record("a writer between segment and record", count)
    assert not count.harm
    assert before > 0
    assert count["amid"] > 0 or kills < 200


@pytest.mark.parametrize("case", CASES)
@loop(8, 200)
def test_row_6_killed_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, kills: int
) -> None:
    monkeypatch.setattr(unfinished, "SAVING_SHARE", float("inf"))  # every epoch is saved, so that all are resumed from
    wanted = recipe(*CASES[case])
    whole = whole_of(wanted, tmp_path / "whole")
    count = build_through_kills(wanted, whole, tmp_path / "runs", kills, longest=0.2)
    record(f"zoo build: {case}", count)
    assert not count.harm
    assert count["amid"] > 0
