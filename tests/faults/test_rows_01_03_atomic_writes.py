"""Rows 1, 2, 3 and 5: kills while writing, leftovers, order of syncs, and a kill between a segment and its record."""

from __future__ import annotations

import itertools
import os
import random
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_zoo import LAYOUT, PROVENANCE, content, in_child, info, kill_while, make_small_zoo, network

from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.errors import ArtifactError
from weightsmith.files import write_bytes
from weightsmith.hashed import HashedLog, read_sealed_json, write_sealed_json
from weightsmith.tensorfile import write_tensors
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

    before = 0
    for kill in range(kills):
        kill_while(build, random.Random(kill).uniform(0, LONGEST))
        zoo = Zoo.open(path)
        assert [row.run for row in zoo.rows] == list(range(len(zoo)))
        assert len(zoo) >= before
        before = len(zoo)
    for row in zoo.rows:
        assert torch.equal(zoo.read([row]).vectors, network(row.run).vectors)
    with Zoo.writer(path):
        pass
    assert len(HashedLog(path / "records.jsonl").read().records) == len(zoo) > 0
    assert not list(path.rglob("*.tmp"))


@pytest.mark.parametrize("kills", KILLS)
def test_killed_sealed_json_is_old_or_new(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "config.json"
    write_sealed_json(path, [0] * 5000)

    def rewrite() -> None:
        for version in itertools.count():
            write_sealed_json(path, [version] * 5000)

    for kill in range(kills):
        kill_while(rewrite, random.Random(kill).uniform(0, LONGEST))
        values = read_sealed_json(path)
        assert len(values) == 5000
        assert len(set(values)) == 1


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kills", KILLS)
def test_killed_checkpoint_is_old_or_new(tmp_path: Path, kills: int, suffix: str) -> None:
    path = tmp_path / f"checkpoint.{suffix}"
    write_checkpoint(path, {"w": torch.zeros(5000)})

    def rewrite() -> None:
        for version in itertools.count():
            write_checkpoint(path, {"w": torch.full((5000,), float(version))})

    for kill in range(kills):
        kill_while(rewrite, random.Random(kill).uniform(0, LONGEST))
        values = read_checkpoint(path)["w"]
        assert values.shape == (5000,)
        assert (values == values[0]).all()


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
