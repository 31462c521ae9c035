"""Segment: one sealed safetensors file of networks of one layout, which proves its own metadata and every row."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightsmith.errors import ArtifactError
from weightsmith.layout import Weights
from weightsmith.tensorfile import Header, read_header, write_tensors
from weightsmith.zoo.contents import REMEDY, Contents, row_sha256

SCHEMA = "weightsmith.segment/1"
NAME = re.compile(r"([0-9]{6,12})-([0-9a-f]{16})\.safetensors")


def seal(folder: Path, sequence: int, contents: Contents, tensors: Mapping[str, Tensor]) -> Path:
    """Write a segment, whole or not at all; its name says its turn and its contents. Raises `EnvironmentFault`."""
    path = folder / f"{sequence:06d}-{contents.sha256[:16]}.safetensors"
    metadata = {"schema": SCHEMA, "segment": contents.text, "segment_sha256": contents.sha256}
    try:
        write_tensors(path, tensors, metadata)
    except BaseException:
        path.unlink(missing_ok=True)  # renamed but not durable: it is not stored, and its turn must stay free
        raise
    return path


class SegmentFile:
    """A sealed segment opened for reading: its statement is checked at once, its rows are mapped and checked when read.

    Raises `ArtifactError` when the file is not exactly what a writer sealed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.header_sha256 = header.sha256
        self.contents = _checked_contents(path, header)
        # As bytes, not as numbers: a tensor in the file need not start where its dtype would like to.
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._starts = [(entry.start, entry.end - entry.start) for entry in header.tensors.values()]

    def release(self) -> None:
        """Give back the memory of what was read: the file stays mapped, and is read again where it is wanted."""
        mapping = getattr(self._bytes, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            mapping.madvise(mmap.MADV_DONTNEED)

    @property
    def size(self) -> int:
        return len(self._bytes)

    def row(self, position: int) -> list[np.ndarray]:
        """The bytes of one network, tensor by tensor, not copied. Raises `ArtifactError` if their hash differs."""
        rows = len(self.contents.rows)
        parts = []
        for start, size in self._starts:
            width = size // rows
            parts.append(self._bytes[start + position * width : start + (position + 1) * width])
        stated = self.contents.rows[position]
        if row_sha256([part.data for part in parts]) != stated["sha256"]:
            raise ArtifactError(
                f"{self.path}: the bytes of run {stated['run']!r}, step {stated['step']} were changed or damaged",
                REMEDY,
            )
        return parts

    def read_into(self, positions: Sequence[int], weights: Weights, places: Sequence[int]) -> None:
        """Copy networks at `positions` of this segment to `places` of `weights`, each checked by its hash."""
        targets = [weights.vectors, *(weights.integers[spec.name] for spec in weights.layout.integer)]
        views = [_byte_rows(target) for target in targets]
        for position, place in zip(positions, places, strict=True):
            for view, part in zip(views, self.row(position), strict=True):
                view[place] = part

    def damage(self) -> list[str]:
        """What is wrong with the rows, each damaged one by name."""
        found = []
        for position in range(len(self.contents.rows)):
            try:
                self.row(position)
            except ArtifactError as error:
                found.append(error.message)
        return found


def _byte_rows(tensor: Tensor) -> np.ndarray:
    rows = tensor.shape[0]
    if tensor.numel() == 0:
        return np.empty((rows, 0), dtype=np.uint8)
    return tensor.reshape(rows, -1).view(torch.uint8).numpy()


def _checked_contents(path: Path, header: Header) -> Contents:
    metadata, name = header.metadata, NAME.fullmatch(path.name)
    schema = metadata.get("schema")
    if schema != SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema!r}, not {SCHEMA!r}", "read it with the weightsmith it came from"
        )
    if metadata.keys() != {"schema", "segment", "segment_sha256"}:
        raise ArtifactError(f"{path} has metadata {sorted(metadata)}", REMEDY)
    digest = hashlib.sha256(metadata["segment"].encode(errors="surrogatepass")).hexdigest()
    if digest != metadata["segment_sha256"] or name is None or name[2] != digest[:16]:
        raise ArtifactError(f"{path} was changed, damaged or renamed after it was sealed", REMEDY)
    contents = Contents.parse(metadata["segment"], str(path))
    rows, layout = len(contents.rows), contents.layout
    expected: list[tuple[str, torch.dtype, tuple[int, ...]]] = [("weights", layout.dtype, (rows, layout.parameters))]
    expected += [(f"integer.{spec.name}", spec.torch_dtype, (rows, *spec.shape)) for spec in layout.integer]
    if [(name, entry.dtype, entry.shape) for name, entry in header.tensors.items()] != expected:
        raise ArtifactError(f"{path} does not hold the tensors that its layout states", REMEDY)
    return contents
