"""Rows 20 to 28: hostile and mismatched checkpoints, hostile names, and weights that are not finite."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import sys
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_zoo import LAYOUT, PROVENANCE, content, info, make_small_zoo, network
from torch import nn

from weightsmith.checkpoint import conform, read_checkpoint, write_checkpoint
from weightsmith.errors import ArtifactError, LayoutMismatch
from weightsmith.layout import Layout, Weights
from weightsmith.zoo import RowInfo, Zoo


def saved(state: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def with_pickle(data: bytes, compress: int = zipfile.ZIP_STORED) -> bytes:
    """A `.pt` archive with another pickle inside."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"w": torch.zeros(3)}))) as old,
        zipfile.ZipFile(result, "w", compress) as new,
    ):
        for name in old.namelist():
            new.writestr(name, data if name.endswith("data.pkl") else old.read(name))
    return result.getvalue()


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def inflating() -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as member:
        for _ in range(200):
            member.write(bytes(1_000_000))
    return result.getvalue()


def sharing_bytes() -> bytes:
    """An archive whose directory names one stored member a thousand times."""
    plain = saved({"w": torch.zeros(10_000)})
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        start = archive.start_dir
        member = next(m for m in archive.infolist() if m.filename.endswith("data/0"))
    name = member.filename.encode()
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, member.CRC, 40000, 40000, len(name), 0, 0, 0, 0, 0, member.header_offset) + name  # fmt: skip  # noqa: E501
    directory = entry * 1000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), start, 0)
    return plain[:start] + directory + end


def as_folder() -> bytes:
    """An archive whose tensor is marked as a folder: torch would give it whatever stood in memory."""
    data = bytearray(saved({"w": torch.zeros(3)}))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.start_dir
    entry = data.rindex(b"archive/data/0", start)
    data[entry - 8] |= 0x10  # the lowest byte of the external attributes, eight bytes before the name
    return bytes(data)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a tensor is a folder": as_folder,
    "inflates to 200 MB": inflating,
    "compressed": lambda: with_pickle(pickle.dumps({}), zipfile.ZIP_DEFLATED),
    "members share bytes": sharing_bytes,
    "legacy": lambda: saved({"w": torch.zeros(3)}, _use_new_zipfile_serialization=False),
    "legacy before a zip": lambda: (
        saved({"w": torch.zeros(3)}, _use_new_zipfile_serialization=False) + saved({"w": torch.zeros(3)})
    ),
    "stride 0 and 10^12 elements": lambda: saved({"w": torch.zeros(1).expand(10**12)}),
    "shape [0, 2^40]": lambda: saved({"w": torch.zeros(0, 2**40)}),
    "bytearray of 4 GB": lambda: with_pickle(pickle.dumps({"w": Calls(bytearray, 4 * 10**9)}, 2)),
    "bytearray of 4 GB, protocol 4": lambda: with_pickle(pickle.dumps({"w": Calls(bytearray, 4 * 10**9)}, 4)),
    "evaluates": lambda: with_pickle(pickle.dumps({"w": Calls(eval, "1 + 1")}, 2)),
    "module": lambda: saved(nn.Linear(2, 2)),
    "module inside": lambda: saved({"w": torch.zeros(1), "m": nn.Linear(2, 2)}),
    "list": lambda: saved([torch.zeros(1)]),
    "numbers": lambda: saved({"epoch": 3, "w": torch.zeros(1)}),
    "keys that are no text": lambda: saved({1: torch.zeros(1)}),
    "nested": lambda: saved({"model": {"w": torch.zeros(1)}}),
    "sparse": lambda: saved({"w": torch.eye(3).to_sparse()}),
    "meta": lambda: saved({"w": torch.empty(3, device="meta")}),
    "garbage pickle": lambda: with_pickle(b"\x80\x02garbage"),
    "pickle of nothing": lambda: with_pickle(b""),
    "no pickle": lambda: b"PK\x05\x06" + bytes(18),
    "empty": lambda: b"",
    "garbage": lambda: bytes(range(256)) * 4,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoint_is_refused_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(HOSTILE[kind]())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match=r"x.pt(.|\n)*remedy"):
        read_checkpoint(path)
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # kilobytes


def test_pickle_that_runs_a_command_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "x.pt", tmp_path / "it-ran"
    for protocol in range(5):
        payload = pickle.dumps({"w": Calls(os.system, f"touch {proof}")}, protocol)
        for data in (payload, with_pickle(payload)):
            path.write_bytes(data)
            with pytest.raises(ArtifactError):
                read_checkpoint(path)
    assert not proof.exists()


def test_there_is_no_less_safe_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(saved({"w": torch.zeros(1)}))
    calls = []

    def refuse(*_: Any, **options: Any) -> Any:
        calls.append(options)
        raise pickle.UnpicklingError("Weights only load failed")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(ArtifactError, match="Weights only load failed"):
        read_checkpoint(path)
    assert [options["weights_only"] for options in calls] == [True]


STATES: dict[str, Callable[[], Any]] = {
    "state dict": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict(),
    "kept variables": lambda: nn.Linear(2, 3).state_dict(keep_vars=True),
    "parameters": lambda: dict(nn.Linear(2, 3).named_parameters()),
    "dtypes": lambda: {
        str(dtype): torch.zeros(3, dtype=dtype)
        for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.uint16, torch.bool)
    },
    "views": lambda: OrderedDict(a=torch.arange(6.0).reshape(2, 3).T, b=torch.zeros(0, 3), c=torch.tensor(1.0)),
}


@pytest.mark.parametrize("kind", STATES)
def test_what_torch_saves_is_read(tmp_path: Path, kind: str) -> None:
    state = STATES[kind]()
    torch.save(state, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_equal_states_give_equal_files(tmp_path: Path, suffix: str) -> None:
    files = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{suffix}"
        write_checkpoint(path, {"w": torch.arange(3.0), "n": torch.tensor(2)})
        files.append(path.read_bytes())
    assert files[0] == files[1]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_garbage_is_refused_and_nothing_else(data: bytes, inside: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(with_pickle(b"\x80\x02" + data) if inside else data)
        with pytest.raises(ArtifactError):
            read_checkpoint(path)


NAMES = ["../../x", "/etc/passwd", "..", "", "a\0b", "CON", "x" * 5000, "'; DROP TABLE networks; --", "é\n"]


@pytest.mark.parametrize("name", NAMES)
def test_run_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    path, out = tmp_path / "in" / "zoo", tmp_path / "in" / "out"
    Zoo.create(path, {"name": name})
    with Zoo.writer(path) as writer:
        writer.append(network(3, 2), [RowInfo(name, 0, 0), RowInfo(3, 0, 0)], {"dataset": name})
    zoo = Zoo.open(path)
    assert zoo.runs == [name, 3]
    assert [row.run for row in zoo.select(run=name)] == [name]
    files = zoo.export(out, "pt")
    assert [file.name for file in files] == ["name-00000-step-00000.pt", "run-00003-step-00000.pt"]
    assert sorted(file.name for file in (tmp_path / "in").iterdir()) == ["out", "zoo"]
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
    assert not [f for f in path.rglob("*") if "x.s" in f.name or f.name == "x"]


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\0b", "__metadata__", "weights"])
def test_tensor_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    entries = [{**LAYOUT.to_json()[0], "name": name}, {**LAYOUT.to_json()[1], "name": name + "n"}]
    layout = Layout.from_json(entries)
    weights = Weights(layout, torch.ones(1, 4), {name + "n": torch.ones(1, dtype=torch.int64)})
    Zoo.create(tmp_path / "zoo", {})
    with Zoo.writer(tmp_path / "zoo") as writer:
        rows = writer.append(weights, [info(0)], PROVENANCE).rows
    found = Zoo.open(tmp_path / "zoo").read(rows)
    assert torch.equal(found.vectors, weights.vectors)
    assert torch.equal(found.integers[name + "n"], weights.integers[name + "n"])
    assert [file.name for file in tmp_path.iterdir()] == ["zoo"]


def test_foreign_files_in_a_zoo_are_never_unpickled(tmp_path: Path) -> None:
    path, proof = tmp_path / "zoo", tmp_path / "it-ran"
    make_small_zoo(path)
    before = content(path)
    for name in ("metadata.pkl", "config.pt", "segments/metadata.pkl", "segments/000002-0123456789abcdef.pt"):
        (path / name).write_bytes(pickle.dumps(Calls(os.system, f"touch {proof}")))
    assert content(path) == before
    (path / "zoo.json").write_bytes(pickle.dumps(Calls(os.system, f"touch {proof}")))
    with pytest.raises(ArtifactError):
        Zoo.open(path)
    assert not proof.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_quarantined(tmp_path: Path, value: float) -> None:
    path = tmp_path / "zoo"
    Zoo.create(path, {})
    weights = network(0, 3)
    weights.vectors[1, 2] = value
    with Zoo.writer(path) as writer:
        outcome = writer.append(weights, [info(0), info(1), info(2)], PROVENANCE)
        everything = writer.append(network(9, 1).replace(torch.full((1, 4), value)), [info(9)], PROVENANCE)
        writer.append(network(4), [info(4)], PROVENANCE)
    assert [row.run for row in outcome.rows] == [0, 2]
    assert everything.rows == []
    (refused,) = outcome.quarantined
    assert (refused.run, refused.step) == (1, 0)
    assert "tensor 'w' holds" in refused.reason
    zoo = Zoo.open(path)
    assert [row.run for row in zoo.rows] == [0, 2, 4]
    assert [row.run for row in zoo.quarantined] == [1, 9]
    assert torch.equal(zoo.read(zoo.rows[:2]).vectors, network(0, 3).vectors[[0, 2]])
    before = content(path)
    (path / "records.jsonl").unlink()
    assert content(path) == before, "reasons are in the segments too"


LINEAR = Layout.of(nn.Linear(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_are_cast_and_reported(dtype: torch.dtype) -> None:
    state = {"weight": torch.ones(3, 2, dtype=dtype), "bias": torch.ones(3)}
    cast, report = conform(state, LINEAR)
    assert cast["weight"].dtype == torch.float32
    assert report == [f"weight: {str(dtype)[6:]} -> float32"]
    assert state["weight"].dtype == dtype


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64])
def test_what_is_no_float_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(LayoutMismatch, match=f"'weight' is {str(dtype)[6:]}, not float32"):
        conform({"weight": torch.ones(3, 2, dtype=dtype), "bias": torch.ones(3)}, LINEAR)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.complex64])
def test_zoo_refuses_vectors_of_another_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    Zoo.create(tmp_path / "zoo", {})
    weights = network(0).replace(network(0).vectors.to(dtype))
    with Zoo.writer(tmp_path / "zoo") as writer, pytest.raises(LayoutMismatch, match=r"vectors(.|\n)*remedy"):
        writer.append(weights, [info(0)], PROVENANCE)
    assert len(Zoo.open(tmp_path / "zoo")) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": torch.ones(2, 3)}, "'weight' is float32\\[2, 3\\], not float32\\[3, 2\\]"),
        ({"weight": None}, "'weight' is missing"),
        ({"scale": torch.ones(1)}, "'scale' is not in the layout"),
    ],
)
def test_mismatch_names_the_tensor(change: dict[str, Any], named: str) -> None:
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3)} | change
    with pytest.raises(LayoutMismatch, match=named):
        conform({name: value for name, value in state.items() if value is not None}, LINEAR)


@pytest.mark.parametrize("integers", [{}, {"n": torch.ones(2)}, {"n": torch.ones(2, 1, dtype=torch.int64)}])
def test_zoo_refuses_wrong_integer_tensors(tmp_path: Path, integers: dict[str, torch.Tensor]) -> None:
    Zoo.create(tmp_path / "zoo", {})
    with Zoo.writer(tmp_path / "zoo") as writer, pytest.raises(LayoutMismatch, match="n"):
        writer.append(Weights(LAYOUT, torch.ones(2, 4), integers), [info(0), info(1)], PROVENANCE)
