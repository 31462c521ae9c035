"""Rows 1, 2, 3 and 5: kills while writing, leftovers, order of syncs, and a kill between a segment and its record."""

from __future__ import annotations

import itertools
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kill_counts import Count, record
from small_zoo import LAYOUT, PROVENANCE, content, in_child, info, kill_while, make_small_zoo, network
from through_kills import Moments

from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.errors import ArtifactError
from weightsmith.files import sweep_leftovers, write_bytes
from weightsmith.hashed import HashedLog, read_sealed_json, write_sealed_json
from weightsmith.tensorfile import read_state, write_state, write_tensors
from weightsmith.zoo import Zoo

KILLS = [20, pytest.param(200, marks=pytest.mark.slow)]
LONGEST = 0.02


@pytest.mark.parametrize("kills", KILLS)
def test_killed_zoo_writer_leaves_a_whole_zoo(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "zoo"
    Zoo.create(path, {})

    def build() -> None:
        with Zoo.writer(path) as writer:
            for run in itertools.count(len(writer.zoo)):
                writer.append(network(run), [info(run)], PROVENANCE)

    count, before = Count("swept", "lost", "different", "ghosts", "orphans", "leftovers"), 0
    moments = Moments(LONGEST, kills)
    for _ in range(kills):
        kill_while(build, moments.draw())
        left = list(path.rglob("*.tmp"))
        zoo = Zoo.open(path)
        count["kills"] += 1
        count["ghosts"] += [row.run for row in zoo.rows] != list(range(len(zoo)))
        count["lost"] += max(0, before - len(zoo))
        before = len(zoo)
        moments.adapt(hit=True, amid=before > 0)
        with Zoo.writer(path):
            pass
        count["amid"] += bool(left)
        count["swept"] += sum(1 for file in left if not file.exists())
        count["orphans"] += len(zoo) - len(HashedLog(path / "records.jsonl").read().records)
    count["different"] += sum(
        1 for row in zoo.rows if not torch.equal(zoo.read([row]).vectors, network(row.run).vectors)
    )
    count["leftovers"] += len(list(path.rglob("*.tmp")))
    record("a writer of a zoo", count)
    assert not count.harm
    assert len(zoo) > 0


def tensor_of(version: int) -> dict[str, torch.Tensor]:
    return {"w": torch.full((5000,), float(version))}


def state_versions(path: Path) -> list[float]:
    tensors, document = read_state(path)
    return [*tensors["w"].tolist(), float(document["version"])]


# What is written over and over, and what it then holds: numbers which are all of one version.
REWRITTEN: dict[str, tuple[Callable[[Path, int], object], Callable[[Path], list[float]]]] = {
    "sealed document": (lambda path, version: write_sealed_json(path, [version] * 5000), read_sealed_json),
    ".pt file": (
        lambda path, version: write_checkpoint(path.with_suffix(".pt"), tensor_of(version)),
        lambda path: read_checkpoint(path.with_suffix(".pt"))["w"].tolist(),
    ),
    ".safetensors file": (
        lambda path, version: write_checkpoint(path.with_suffix(".safetensors"), tensor_of(version)),
        lambda path: read_checkpoint(path.with_suffix(".safetensors"))["w"].tolist(),
    ),
    "unfinished state": (
        lambda path, version: write_state(path, tensor_of(version), {"version": version}),
        state_versions,
    ),
}


@pytest.mark.parametrize("kind", REWRITTEN)
@pytest.mark.parametrize("kills", KILLS)
def test_killed_writer_leaves_the_old_or_the_new(tmp_path: Path, kills: int, kind: str) -> None:
    write, read = REWRITTEN[kind]
    path, count, before = tmp_path / "file", Count("lost", "different"), 0.0
    moments = Moments(LONGEST, kills)
    write(path, 0)

    def rewrite() -> None:
        for version in itertools.count(int(before) + 1):
            write(path, version)

    for _ in range(kills):
        kill_while(rewrite, moments.draw())
        values = read(path)
        count["kills"] += 1
        count["amid"] += bool(sweep_leftovers(tmp_path))
        count["different"] += len(set(values)) != 1 or len(values) < 5000
        count["lost"] += values[0] < before
        before = values[0]
        moments.adapt(hit=True, amid=before > 0)
    record(f"a writer of {'an' if kind[0] == 'u' else 'a'} {kind}", count)
    assert not count.harm
    assert before > 0


def test_leftovers_of_dead_writers_are_swept_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    host = socket.gethostname()
    dead = [folder / f".weightsmith-{host}-{child}-01234567.tmp" for folder in (path, path / "segments")]
    kept = [
        path / f".weightsmith-{host}-{os.getpid()}-01234567.tmp",
        path / f".weightsmith-elsewhere{host}-{child}-01234567.tmp",
        path / ".weightsmith-notes.tmp",
        path / f"weightsmith-{host}-{child}-01234567.tmp",
    ]
    for file in dead + kept:
        file.write_bytes(b"x")
    link = path / f".weightsmith-{host}-{child}-76543210.tmp"
    link.symlink_to(path / "zoo.json")
    Zoo.open(path)
    assert all(file.exists() for file in dead), "reading a zoo changes nothing"
    with Zoo.writer(path):
        pass
    assert not any(file.exists() for file in dead)
    assert all(file.exists() for file in [*kept, link])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def traced_fsync(descriptor: int) -> None:
        made.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def traced_replace(self: Path, target: Path) -> Path:
        made.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    return made


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda folder: write_bytes(folder / "x", b"x"),
    "sealed": lambda folder: write_sealed_json(folder / "x.json", {}),
    "tensors": lambda folder: write_tensors(folder / "x.safetensors", {"w": torch.ones(3)}),
    "pt": lambda folder: write_checkpoint(folder / "x.pt", {"w": torch.ones(3)}),
    "state": lambda folder: write_state(folder / "x.safetensors", {"w": torch.ones(3)}, {"epoch": 1}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_order_of_syncs(tmp_path: Path, calls: list[str], kind: str) -> None:
    WRITERS[kind](tmp_path)
    assert calls == ["sync file", "rename", "sync folder"]


def test_log_is_synced_and_its_creation_too(tmp_path: Path, calls: list[str]) -> None:
    log = HashedLog(tmp_path / "log.jsonl")
    log.append([{"a": 1}])
    log.append([{"a": 2}])
    assert calls == ["sync file", "sync folder", "sync file"]


def test_segment_is_durable_before_it_is_logged(tmp_path: Path, calls: list[str]) -> None:
    make_small_zoo(tmp_path / "zoo")
    created, first, second = calls[:3], calls[3:8], calls[8:]
    assert created == ["sync file", "rename", "sync folder"]
    assert first == ["sync file", "rename", "sync folder", "sync file", "sync folder"]
    assert second == ["sync file", "rename", "sync folder", "sync file"]


def test_segment_without_its_record_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)

    def die(*_: object) -> None:
        os._exit(9)

    def build() -> None:
        with Zoo.writer(path) as writer:
            monkeypatch.setattr(HashedLog, "append", die)
            writer.append(network(7), [info(7)], PROVENANCE)

    assert in_child(build)[0] == 9
    healed = content(path)
    assert [row.run for row in healed[2]] == [0, 0, 1, 7]
    assert len(HashedLog(path / "records.jsonl").read().records) == 2
    with Zoo.writer(path) as writer:
        again = writer.append(network(7), [info(7)], PROVENANCE)
    assert [row.run for row in again.rows] == [7]
    assert len(HashedLog(path / "records.jsonl").read().records) == 3
    assert content(path) == healed


def test_record_without_its_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    zoo = make_small_zoo(path)
    (path / "segments" / zoo.rows[-1].segment).unlink()
    with pytest.raises(ArtifactError, match=r"000001-.*recorded(.|\n)*remedy"):
        Zoo.open(path)


def test_gap_in_the_segments_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    zoo = make_small_zoo(path)
    (path / "records.jsonl").unlink()
    (path / "segments" / zoo.rows[0].segment).unlink()
    with pytest.raises(ArtifactError, match="gap"):
        Zoo.open(path)


def test_layout_is_the_one_of_the_test(tmp_path: Path) -> None:
    assert make_small_zoo(tmp_path / "zoo").layouts == {LAYOUT.fingerprint: LAYOUT}
