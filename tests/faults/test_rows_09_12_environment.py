"""Rows 9 to 12: disk full, no permission, two writers, a dead writer's lock."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from damage import fill
from small_zoo import LAYOUT, PROVENANCE, as_nobody, content, in_child, info, kill_while, make_small_zoo, network

from weightsmith import files
from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.hashed import HashedLog, read_sealed_json, write_sealed_json
from weightsmith.layout import Weights
from weightsmith.zoo import Zoo


@pytest.mark.parametrize("leave", [0, 4096, 8192])
def test_full_disk_keeps_the_zoo(small_disk: Path, leave: int) -> None:
    path = small_disk / "zoo"
    make_small_zoo(path)
    before = content(path)
    big = Weights(LAYOUT, torch.ones(400, 4), {"n": torch.zeros(400, dtype=torch.int64)})
    rows = [info(1000 + i) for i in range(400)]
    with Zoo.writer(path) as writer:
        filler = fill(small_disk, leave)
        with pytest.raises(EnvironmentFault, match="free some disk space"):
            writer.append(big, rows, PROVENANCE)
        assert content(path) == before
        filler.unlink()
        assert len(writer.append(big, rows, PROVENANCE).rows) == 400
    assert content(path)[2][:3] == before[2]
    assert len(Zoo.open(path)) == 403
    assert not list(small_disk.rglob("*.tmp"))


def test_full_disk_between_segment_and_log_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    with Zoo.writer(path) as writer:
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(HashedLog, "_write", full)
            with pytest.raises(EnvironmentFault, match="free some disk space"):
                writer.append(network(5), [info(5)], PROVENANCE)
        assert [row.run for row in writer.append(network(5), [info(5)], PROVENANCE).rows] == [5]
        writer.append(network(6), [info(6)], PROVENANCE)
    assert [row.run for row in content(path)[2]] == [0, 0, 1, 5, 6]
    assert len(HashedLog(path / "records.jsonl").read().records) == 4


def test_segment_whose_folder_cannot_be_synced_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    before = content(path)
    with Zoo.writer(path) as writer:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError(5, "Input/output error")

            patch.setattr(files, "sync_folder", fail)
            with pytest.raises(EnvironmentFault, match="Input/output error"):
                writer.append(network(5), [info(5)], PROVENANCE)
        assert content(path) == before
        writer.append(network(6), [info(6)], PROVENANCE)
    assert [row.run for row in content(path)[2]] == [0, 0, 1, 6]


def test_full_disk_keeps_a_sealed_file(small_disk: Path) -> None:
    write_sealed_json(small_disk / "config.json", {"a": 1})
    filler = fill(small_disk, 4096)
    with pytest.raises(EnvironmentFault, match="free some disk space"):
        write_sealed_json(small_disk / "config.json", list(range(10_000)))
    assert read_sealed_json(small_disk / "config.json") == {"a": 1}
    filler.unlink()
    write_sealed_json(small_disk / "config.json", {"a": 2})
    assert read_sealed_json(small_disk / "config.json") == {"a": 2}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_full_disk_keeps_a_checkpoint(small_disk: Path, suffix: str) -> None:
    path = small_disk / f"c.{suffix}"
    write_checkpoint(path, {"w": torch.ones(3)})
    with pytest.raises(EnvironmentFault, match="free some disk space"):
        write_checkpoint(path, {"w": torch.ones(500_000)})
    assert read_checkpoint(path)["w"].tolist() == [1, 1, 1]
    assert [file.name for file in small_disk.iterdir()] == [path.name]


def test_full_disk_keeps_a_log(small_disk: Path) -> None:
    log = HashedLog(small_disk / "log.jsonl")
    log.append([{"a": 1}])
    filler = fill(small_disk, 4096)
    with pytest.raises(EnvironmentFault, match="free some disk space"):
        log.append([{"text": "x" * 20_000}])
    contents = HashedLog(log.path).read()
    assert (contents.records, contents.torn) == ([{"a": 1}], False)
    filler.unlink()
    log.append([{"a": 2}])
    assert HashedLog(log.path).read().records == [{"a": 1}, {"a": 2}]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become another user")
def test_without_permission_nothing_starts(open_folder: Path) -> None:
    path = open_folder / "zoo"
    before = make_small_zoo(path)

    def write() -> None:
        with Zoo.writer(path):
            pass

    attempts: list[Callable[[], object]] = [
        write,
        lambda: Zoo.create(open_folder / "other", {}),
        lambda: Zoo.open(path).export(open_folder / "out"),
        lambda: write_checkpoint(open_folder / "c.pt", {"w": torch.ones(1)}),
    ]
    for attempt in attempts:
        status, text = in_child(as_nobody(attempt))
        assert status == 1
        assert "EnvironmentFault: cannot write" in text
        assert "choose a folder that you may write to" in text
    assert in_child(as_nobody(lambda: Zoo.open(path).verify())) == (0, ""), "reading needs no permission to write"
    assert [file.name for file in open_folder.iterdir()] == ["zoo"]
    assert content(path)[2] == list(before.rows)


def test_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    zoo = make_small_zoo(tmp_path / "zoo")
    with pytest.raises(EnvironmentFault, match=r"is a file(.|\n)*choose another"):
        Zoo.create(file, {})
    with pytest.raises(EnvironmentFault, match=r"is a file(.|\n)*choose another"):
        zoo.export(file)
    assert file.read_bytes() == b"x"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"thesis.tex(.|\n)*choose a new folder"):
        Zoo.create(tmp_path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_second_writer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)

    def write() -> None:
        with Zoo.writer(path):
            pass

    with Zoo.writer(path) as writer:
        status, text = in_child(write)
        assert status == 1
        assert "EnvironmentFault: another process is writing" in text
        writer.append(network(5), [info(5)], PROVENANCE)
    assert in_child(write)[0] == 0
    assert len(Zoo.open(path)) == 4


def test_two_writers_in_turn_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    Zoo.create(path, {})

    def build(runs: range) -> None:
        for run in runs:
            while True:
                try:
                    with Zoo.writer(path) as writer:
                        writer.append(network(run), [info(run)], PROVENANCE)
                    break
                except EnvironmentFault:
                    time.sleep(0.001)

    child = os.fork()
    if child == 0:
        try:
            build(range(0, 10))
        finally:
            os._exit(0)
    build(range(10, 20))
    os.waitpid(child, 0)
    assert sorted(row.run for row in content(path)[2]) == list(range(20))


def test_lock_of_a_dead_writer_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)

    def hold() -> None:
        with Zoo.writer(path):
            (tmp_path / "held").touch()
            time.sleep(60)

    kill_while(hold, 0, begun=tmp_path / "held")
    with Zoo.writer(path) as writer:
        writer.append(network(5), [info(5)], PROVENANCE)
    assert len(Zoo.open(path)) == 4
