"""Rows 13 and 14: every file of a zoo cut at every byte, and one bit flipped in every byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import cut, flipped
from small_zoo import content, make_small_zoo, zoo_files

from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.errors import ArtifactError
from weightsmith.hashed import HashedLog, read_sealed_json, write_sealed_json
from weightsmith.zoo import Zoo


@pytest.mark.parametrize("damaged", [cut, flipped])
@pytest.mark.parametrize("number", range(4))
def test_damaged_zoo_is_refused_or_healed(
    tmp_path: Path, number: int, damaged: Callable[[bytes], Iterator[bytes]]
) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    before = content(path)
    file = zoo_files(path)[number]
    data = file.read_bytes()
    healed = 0
    for changed in damaged(data):
        file.write_bytes(changed)
        try:
            after = content(path)
        except ArtifactError:
            continue
        assert after == before
        healed += 1
    assert healed == 0 or file.name == "records.jsonl", "only the log can be rebuilt"
    file.write_bytes(data)
    assert content(path) == before


@pytest.mark.parametrize("damaged", [cut, flipped])
def test_damaged_segment_that_was_not_logged_is_refused(
    tmp_path: Path, damaged: Callable[[bytes], Iterator[bytes]]
) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    (path / "records.jsonl").unlink()
    file = zoo_files(path)[0]
    for changed in damaged(file.read_bytes()):
        file.write_bytes(changed)
        with pytest.raises(ArtifactError):
            Zoo.open(path)


def test_writer_heals_a_log_that_lost_its_end(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    make_small_zoo(path)
    before, log = content(path), path / "records.jsonl"
    data = log.read_bytes()
    for end in (0, 10, data.index(b"\n") + 1, data.index(b"\n") + 9, len(data) - 1):
        log.write_bytes(data[:end])
        with Zoo.writer(path):
            pass
        assert log.read_bytes() == data
        assert content(path) == before


def test_verify_lists_all_damage(tmp_path: Path) -> None:
    path = tmp_path / "zoo"
    zoo = make_small_zoo(path)
    for file in (path / "segments").iterdir():
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    with pytest.raises(ArtifactError) as error:
        zoo.verify()
    assert all(row.segment in str(error.value) for row in zoo.rows[1:])


def read_pt(path: Path) -> Any:
    return {name: (value.dtype, value.tolist()) for name, value in read_checkpoint(path).items()}


def read_log(path: Path) -> Any:
    contents = HashedLog(path).read()
    return (contents.records, contents.torn)


KINDS: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], Any]]] = {
    "sealed json": ("x.json", lambda p: write_sealed_json(p, {"a": [1, "é"]}), read_sealed_json),
    "pt": ("x.pt", lambda p: write_checkpoint(p, {"w": torch.arange(3.0)}), read_pt),
}


@pytest.mark.parametrize("damaged", [cut, flipped])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_is_refused_or_reads_the_same(
    tmp_path: Path, kind: str, damaged: Callable[[bytes], Iterator[bytes]]
) -> None:
    name, write, read = KINDS[kind]
    path = tmp_path / name
    write(path)
    before, data = read(path), path.read_bytes()
    for changed in damaged(data):
        path.write_bytes(changed)
        try:
            after = read(path)
        except ArtifactError:
            continue
        assert kind == "pt", "a sealed file is refused for any byte"
        assert after == before  # zip fields that nobody reads, such as dates


@pytest.mark.parametrize("damaged", [cut, flipped])
def test_damaged_log_is_refused_or_torn(tmp_path: Path, damaged: Callable[[bytes], Iterator[bytes]]) -> None:
    path = tmp_path / "log.jsonl"
    HashedLog(path).append([{"a": 1}, {"b": "é"}])
    data = path.read_bytes()
    line_ends = [0, data.index(b"\n") + 1]
    for changed in damaged(data):
        path.write_bytes(changed)
        try:
            records, torn = read_log(path)
        except ArtifactError:
            continue
        assert records == [{"a": 1}, {"b": "é"}][: len(records)]
        assert torn or len(changed) in line_ends
