"""Safetensors files, written atomically with deterministic bytes and read with every claim of the header checked."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightsmith.errors import ArtifactError
from weightsmith.files import replacing
from weightsmith.hashed import canonical_json, parse_json

MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: dtype, shape and where its bytes lie in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """The checked header of a safetensors file, and the SHA-256 of its bytes (length prefix included)."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]
    sha256: str


def can_hold(dtype: torch.dtype) -> bool:
    """Whether a tensor of this dtype can be written as it is."""
    return dtype in _NAMES


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file atomically; equal input gives equal bytes. Returns the SHA-256 of the file.

    Raises `ArtifactError` for a dtype or name that the format cannot hold and `EnvironmentFault` when the disk is full.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted((metadata or {}).items()))} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise ArtifactError(f"tensor {name!r} is {tensor.dtype}", f"convert it to one of {sorted(_NAMES.values())}")
        if name == "__metadata__":
            raise ArtifactError("tensor '__metadata__' has the name that the format keeps for itself", "rename it")
        size = tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # data start at a multiple of 8 bytes, so that they can be mapped
    digest = hashlib.sha256()
    with replacing(path) as temporary, temporary.open("wb") as file:
        blocks: Iterator[bytes | memoryview] = itertools.chain(
            (struct.pack("<Q", len(text)), text), map(raw_bytes, tensors.values())
        )
        for block in blocks:
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def read_header(path: Path) -> Header:
    """Check the header of a safetensors file: length, JSON, dtypes, shapes, and that the data are exactly covered.

    Raises `ArtifactError`; allocates no more than the header's own size.
    """
    remedy = "restore the file from a copy or make it again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
            if not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
                raise ArtifactError(f"{path} is not a safetensors file ({size} bytes, header length {length})", remedy)
            text = file.read(length)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "check the path") from error
    document = parse_json(text, f"header of {path}")
    if not isinstance(document, dict):
        raise ArtifactError(f"header of {path} is not an object", remedy)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ArtifactError(f"metadata of {path} is not text", remedy)
    data = 8 + length
    entries = {name: _checked_entry(path, name, entry, data) for name, entry in document.items()}
    expected = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != expected:
            raise ArtifactError(f"{path}: the bytes of tensor {name!r} overlap others or leave a hole", remedy)
        expected = entry.end
    if expected != size:
        raise ArtifactError(f"{path} has {size} bytes where its header states {expected}", remedy)
    return Header(entries, metadata, hashlib.sha256(prefix + text).hexdigest())


def read_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a file; with `sha256`, refuse it unless its bytes have that hash."""
    header = read_header(path)
    with path.open("rb") as file:
        if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ArtifactError(f"{path} was changed or damaged after it was written", "restore it or make it again")
        tensors = {name: _read_entry(file, entry) for name, entry in header.tensors.items()}
    return tensors, dict(header.metadata)


def write_state(path: Path, tensors: Mapping[str, Tensor], document: Any) -> None:
    """Write tensors and a JSON document with a hash over both: a state that work can be resumed from."""
    text = canonical_json(document)
    write_tensors(path, tensors, {"state": text, "sha256": _digest(text, tensors)})


def read_state(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_state` wrote. Raises `ArtifactError` if anything in it was changed."""
    tensors, metadata = read_tensors(path)
    text = metadata.get("state", "")
    if metadata.get("sha256") != _digest(text, tensors):
        raise ArtifactError(f"{path} was changed or damaged after it was written", "delete it to start again")
    return tensors, parse_json(text, f"state in {path}")


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, row-major, as they stand in a file."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _read_entry(file: Any, entry: Entry) -> Tensor:
    if entry.start == entry.end:
        return torch.empty(entry.shape, dtype=entry.dtype)
    file.seek(entry.start)
    raw = np.fromfile(file, dtype=np.uint8, count=entry.end - entry.start)
    return torch.from_numpy(raw).view(entry.dtype).reshape(entry.shape)


def _checked_entry(path: Path, name: str, entry: Any, data: int) -> Entry:
    problem = f"{path}: header entry of tensor {name!r} "
    remedy = "restore the file from a copy or make it again"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactError(problem + "lacks dtype, shape or data_offsets", remedy)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ArtifactError(problem + f"has unknown dtype {dtype!r}", f"convert it to one of {sorted(_DTYPES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or math.prod(shape) >= 2**48:
        raise ArtifactError(problem + f"has shape {shape!r} at {offsets!r}", remedy)
    size = math.prod(shape) * torch.empty((), dtype=_DTYPES[dtype]).element_size()
    if offsets[1] - offsets[0] != size:
        raise ArtifactError(problem + f"has {offsets[1] - offsets[0]} bytes where its shape needs {size}", remedy)
    if size == 0 and any(n >= 2**31 for n in shape):
        raise ArtifactError(problem + f"has shape {shape!r}", remedy)
    return Entry(_DTYPES[dtype], tuple(shape), data + offsets[0], data + offsets[1])


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**48 for n in values)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """A hash of a document and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)} ".encode())
        digest.update(raw_bytes(tensors[name]))
    return digest.hexdigest()
