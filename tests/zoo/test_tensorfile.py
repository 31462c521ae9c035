"""Tensor files: what the safetensors library reads and writes, and equal bytes for equal input."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.errors import ArtifactError
from weightsmith.tensorfile import read_header, read_tensors, write_tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name, value in left.items():
        other = right[name]
        assert (value.dtype, value.shape) == (other.dtype, other.shape)
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (value, other) if t.numel()]
        assert not bits or torch.equal(*bits)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = torch.Size(shape).numel()
    if dtype == torch.bool:
        return torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=dtype).reshape(shape)
    width = size * torch.empty((), dtype=dtype).element_size()
    raw = bytearray(draw(st.binary(min_size=width, max_size=width)))  # any bits, NaNs of every kind among them
    return (torch.frombuffer(raw, dtype=dtype) if size else torch.empty(0, dtype=dtype)).reshape(shape)


names = st.text(st.characters(codec="utf-8"), max_size=6).filter(lambda name: name != "__metadata__")
texts = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=6), st.text(st.characters(codec="utf-8"), max_size=6)
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, tensors(), max_size=4), texts)
def test_round_trip_and_the_oracle_agree(state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "a.safetensors", Path(folder) / "b.safetensors"
        digest = write_tensors(ours, state, metadata)
        found, text = read_tensors(ours, sha256=digest)
        assert_same_bits(found, state)
        assert (list(found), text) == (list(state), metadata)
        assert_same_bits(safetensors.torch.load_file(ours), state)
        assert list(read_header(ours).tensors) == list(state)
        safetensors.torch.save_file(state, theirs, metadata or None)  # it writes bad JSON for {} twice
        assert_same_bits(read_tensors(theirs)[0], state)
        first = ours.read_bytes()
        write_tensors(ours, {name: value.clone() for name, value in state.items()}, dict(reversed(metadata.items())))
        assert ours.read_bytes() == first


def test_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    digest = write_tensors(path, {"w": torch.ones(2)})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match="changed or damaged"):
        read_tensors(path, sha256="0" * 64)


def test_dtype_that_the_format_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'w' is torch.complex64(.|\n)*convert"):
        write_tensors(tmp_path / "x.safetensors", {"w": torch.ones(2, dtype=torch.complex64)})
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'__metadata__'(.|\n)*remedy"):
        write_tensors(tmp_path / "x.safetensors", {"__metadata__": torch.ones(2)})


def test_a_view_is_written_row_major(tmp_path: Path) -> None:
    value = torch.arange(6.0).reshape(2, 3).T
    write_tensors(tmp_path / "x.safetensors", {"w": value})
    assert_same_bits(safetensors.torch.load_file(tmp_path / "x.safetensors"), {"w": value.contiguous()})
