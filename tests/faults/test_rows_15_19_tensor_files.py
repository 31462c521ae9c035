"""Rows 15 to 19: tensor files and segments which are empty, garbage, huge, overlapping, ambiguous or impossible."""

from __future__ import annotations

import json
import resource
import struct
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_zoo import LAYOUT, make_small_zoo

from weightsmith.checkpoint import read_checkpoint
from weightsmith.errors import ArtifactError
from weightsmith.hashed import HashedLog, canonical_json, fingerprint
from weightsmith.tensorfile import read_tensors, write_tensors
from weightsmith.zoo import Zoo

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def tensor_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


BAD = {
    "empty": b"",
    "seven bytes": b"\x01" * 7,
    "only a length": struct.pack("<Q", 0),
    "garbage": bytes(range(256)),
    "a zip": b"PK\x03\x04" + bytes(100),
    "not json": tensor_file(b"{'a':1}"),
    "not utf-8": tensor_file(b'{"\xff":1}'),
    "a list": tensor_file([]),
    "nested too deep": tensor_file(b"[" * 100_000),
    "length 2^63": tensor_file({}, length=2**63),
    "length 2^64-1": tensor_file({}, length=2**64 - 1),
    "length past the end": tensor_file({}, length=3),
    "overlap": tensor_file({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "the same bytes twice": tensor_file({"a": F32, "b": F32}, bytes(8)),
    "hole": tensor_file({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, bytes(20)),
    "hole at the start": tensor_file({"a": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "trailing": tensor_file({"a": F32}, bytes(9)),
    "missing data": tensor_file({"a": F32}, bytes(7)),
    "duplicate key": tensor_file(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        bytes(8),
    ),
    "duplicate key inside": tensor_file(
        b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}', bytes(8)
    ),
    "half a surrogate": tensor_file(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
    "overflowing shape": tensor_file({"a": {**F32, "shape": [2**32, 2**32]}}, bytes(8)),
    "shape wraps to its bytes": tensor_file({"a": {**F32, "shape": [2**62 + 2]}}, bytes(8)),
    "empty but huge": tensor_file({"a": {**F32, "shape": [0, 2**40], "data_offsets": [0, 0]}}),
    "negative shape": tensor_file({"a": {**F32, "shape": [-1, -2]}}, bytes(8)),
    "shape of floats": tensor_file({"a": {**F32, "shape": [2.0]}}, bytes(8)),
    "shape of booleans": tensor_file({"a": {**F32, "shape": [2, True]}}, bytes(8)),
    "NaN in shape": tensor_file(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)),
    "unknown dtype": tensor_file({"a": {**F32, "dtype": "F31"}}, bytes(8)),
    "dtype a list": tensor_file({"a": {**F32, "dtype": ["F32"]}}, bytes(8)),
    "reversed offsets": tensor_file({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8)),
    "three offsets": tensor_file({"a": {**F32, "data_offsets": [0, 8, 8]}}, bytes(8)),
    "an extra field": tensor_file({"a": {**F32, "more": 1}}, bytes(8)),
    "metadata a number": tensor_file({"__metadata__": 1, "a": F32}, bytes(8)),
    "metadata of numbers": tensor_file({"__metadata__": {"a": 1}, "a": F32}, bytes(8)),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tensor_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(BAD[kind])
    with pytest.raises(ArtifactError, match=r"x.safetensors(.|\n)*remedy"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("logged", [True, False])
def test_bad_segment_is_refused(tmp_path: Path, kind: str, logged: bool) -> None:
    zoo = make_small_zoo(tmp_path / "zoo")
    if not logged:
        (zoo.path / "records.jsonl").unlink()
    (zoo.path / "segments" / zoo.rows[0].segment).write_bytes(BAD[kind])
    with pytest.raises(ArtifactError, match=r"000000-(.|\n)*remedy"):
        Zoo.open(zoo.path)


@pytest.mark.parametrize("length", [2**63, 150_000_000])
def test_huge_header_is_refused_in_bounded_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + b"{")
        file.truncate(200_000_000)  # sparse
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000  # kilobytes


@pytest.mark.parametrize("name", ["x.txt", "x", "x.pkl", "x.safetensors.gz", "x.bin"])
def test_wrong_extension_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match="suffix"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"x\."):
        read_checkpoint(tmp_path / name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "I64", "BF16", "F8"]) | json_values,
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(0, 16) | st.integers(), min_size=2, max_size=2) | json_values,
    }
)
headers = st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), entries | json_values, max_size=3)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=64)
    | st.builds(
        tensor_file, headers | st.binary(max_size=40), st.binary(max_size=16), st.none() | st.integers(0, 2**64 - 1)
    )
)
def test_garbage_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        try:
            tensors, _ = read_tensors(path)
        except ArtifactError:
            return
        assert sum(t.numel() * t.element_size() for t in tensors.values()) <= len(data)


def forged_segment(path: Path, document: Any, tensors: dict[str, torch.Tensor], schema: str) -> Path:
    text, digest = canonical_json(document), fingerprint(document)
    file = path / "segments" / f"000000-{digest[:16]}.safetensors"
    write_tensors(file, tensors, {"schema": schema, "segment": text, "segment_sha256": digest})
    return file


ROW = {"run": 0, "step": 0, "seed": 0, "metrics": {}, "extra": {}, "sha256": "0" * 64}
DOCUMENT = {"layout": LAYOUT.to_json(), "provenance": {}, "rows": [ROW], "quarantined": []}
TENSORS = {"weights": torch.zeros(1, 4), "integer.n": torch.zeros(1, dtype=torch.int64)}
SCHEMA = "weightsmith.segment/1"
FORGED: dict[str, tuple[Any, dict[str, torch.Tensor], str]] = {
    "wrong hash of a row": (DOCUMENT, TENSORS, SCHEMA),
    "newer schema": (DOCUMENT, TENSORS, "weightsmith.segment/2"),
    "not an object": ([], TENSORS, SCHEMA),
    "no layout": ({**DOCUMENT, "layout": [1]}, TENSORS, SCHEMA),
    "unknown dtype": (
        {**DOCUMENT, "layout": [{"name": "w", "shape": [4], "dtype": "nn", "role": "weight"}]},
        TENSORS,
        SCHEMA,
    ),
    "fewer rows than stated": ({**DOCUMENT, "rows": [ROW, {**ROW, "step": 1}]}, TENSORS, SCHEMA),
    "row without a seed": ({**DOCUMENT, "rows": [{**ROW, "seed": None}]}, TENSORS, SCHEMA),
    "row with more": ({**DOCUMENT, "rows": [{**ROW, "more": 1}]}, TENSORS, SCHEMA),
    "metric is text": ({**DOCUMENT, "rows": [{**ROW, "metrics": {"a": "b"}}]}, TENSORS, SCHEMA),
    "bad quarantine": ({**DOCUMENT, "quarantined": [1]}, TENSORS, SCHEMA),
    "tensor missing": (DOCUMENT, {"weights": TENSORS["weights"]}, SCHEMA),
    "tensor too many": (DOCUMENT, {**TENSORS, "more": torch.zeros(1)}, SCHEMA),
    "tensor too long": (DOCUMENT, {**TENSORS, "weights": torch.zeros(1, 5)}, SCHEMA),
    "another dtype": (DOCUMENT, {**TENSORS, "weights": torch.zeros(1, 4, dtype=torch.int32)}, SCHEMA),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_segment_is_refused(tmp_path: Path, kind: str) -> None:
    zoo = Zoo.create(tmp_path / "zoo", {})
    forged_segment(zoo.path, *FORGED[kind])
    with pytest.raises(ArtifactError, match="000000-"):
        Zoo.open(zoo.path)


RECORD = {"kind": "segment", "file": "", "bytes": 1, "header_sha256": "", "layout": "", "rows": [], "quarantined": []}


@pytest.mark.parametrize(
    "record",
    [
        1,
        {},
        {"kind": "other"},
        {**RECORD, "file": "../../x"},
        {**RECORD, "file": "/etc/passwd"},
        {**RECORD, "file": "000000-0123456789abcdef.safetensors"},
        {**RECORD, "bytes": "1"},
        {**RECORD, "rows": [1]},
    ],
)
def test_forged_log_is_refused(tmp_path: Path, record: Any) -> None:
    zoo = Zoo.create(tmp_path / "zoo", {})
    HashedLog(zoo.path / "records.jsonl").append([record])
    with pytest.raises(ArtifactError, match=r"records.jsonl(.|\n)*remedy"):
        Zoo.open(zoo.path)


@pytest.mark.parametrize("tamper", [lambda rows: rows[::-1], lambda rows: [{**rows[0], "seed": 99}, rows[1]]])
def test_log_that_contradicts_its_segment_is_found(tmp_path: Path, tamper: Callable[[list[Any]], list[Any]]) -> None:
    zoo = make_small_zoo(tmp_path / "zoo")
    log = zoo.path / "records.jsonl"
    first, second = HashedLog(log).read().records
    log.unlink()
    HashedLog(log).append([{**first, "rows": tamper(first["rows"])}, second])
    with pytest.raises(ArtifactError, match="not what the log says"):
        Zoo.open(zoo.path).verify()
