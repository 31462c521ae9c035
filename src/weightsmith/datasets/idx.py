"""IDX files, plain or gzipped: the format in which MNIST is published."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError

_UNSIGNED_BYTE = 8


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a plain or gzipped (.gz) file; raises `ArtifactError` if damaged or longer than `limit` bytes."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArtifactError(f"{path} is truncated or damaged: {error}", "restore it from a copy or fetch it") from None
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}", "check the path") from None
    if len(data) > limit:
        raise ArtifactError(f"{path} holds more than the {limit} bytes expected", "restore it or fetch it again")
    return data


def parse_idx(data: bytes, shape: tuple[int, ...], name: str) -> Tensor:
    """The uint8 tensor in an IDX file's bytes; raises `ArtifactError` where type, `shape` or length differ."""
    start = 4 + 4 * len(shape)
    magic = bytes([0, 0, _UNSIGNED_BYTE, len(shape)])
    if data[:4] != magic:
        raise ArtifactError(f"{name} begins with {data[:4].hex()}, not with {magic.hex()}", "restore the IDX file")
    found = struct.unpack(f">{len(shape)}I", data[4:start]) if len(data) >= start else ()
    if found != shape:
        raise ArtifactError(f"{name} has shape {list(found)}, not {list(shape)}", "restore the IDX file")
    if len(data) - start != math.prod(shape):
        raise ArtifactError(
            f"{name} holds {len(data) - start} values, its header says {math.prod(shape)}", "restore the IDX file"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).reshape(shape)
