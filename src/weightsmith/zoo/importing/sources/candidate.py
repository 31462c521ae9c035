"""Candidate: a network that lies somewhere and may become a row of a zoo; Source: many of them, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from weightsmith.checkpoint import Kind, inspect_checkpoint, read_checkpoint, without_prefix
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout
from weightsmith.tensorfile import raw_bytes
from weightsmith.zoo.contents import row_sha256
from weightsmith.zoo.rows import RowInfo

State = dict[str, Tensor]


class Candidate(Protocol):
    """One network before it is read. `size` is about what reading it takes, in bytes; `layout` what is stated of it."""

    @property
    def name(self) -> str: ...

    @property
    def info(self) -> RowInfo: ...

    @property
    def size(self) -> int: ...

    @property
    def layout(self) -> Layout | None: ...

    def inspect(self) -> State | None:
        """What can be known cheaply: tensors without bytes, or None. Raises `ArtifactError` for a bad file."""
        ...

    def digest(self) -> str:
        """SHA-256 of the bytes that it is read from."""
        ...

    def read(self) -> State:
        """Its state dict. Raises `ArtifactError` or `LayoutMismatch`."""
        ...


@dataclass(frozen=True)
class Unusable:
    """What stands where a network was to be, and why it is none."""

    name: str
    error: BadInput


@dataclass(frozen=True)
class Source:
    """Networks to be imported, in an order that does not change; `notes` are what a person is to be told of it.

    `kind` is `files`, `export`, `ray-tune` or `arrays`. The candidates are made while they are gone through, which can
    be done again and again.
    """

    kind: str
    folder: Path
    count: int
    candidates: Callable[[], Iterator[Candidate | Unusable]] = field(repr=False)
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Candidate | Unusable]:
        return self.candidates()


@dataclass(frozen=True)
class Reading:
    """How state dicts are read: the key of the part that is one, and the prefix to take off its names."""

    key: str | None = None
    strip: str = ""

    def inspect(self, path: Path, kind: Kind | None) -> State | None:
        state = inspect_checkpoint(path, self.key, kind)
        return None if state is None else without_prefix(state, self.strip)

    def read(self, path: Path, kind: Kind | None) -> State:
        return without_prefix(read_checkpoint(path, self.key, kind), self.strip)


def require_regular(path: Path) -> None:
    """Raise `ArtifactError` for what is no file: at a pipe, say, reading would wait forever."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing or not a regular file", "restore it, or leave it out")


@dataclass(frozen=True)
class FileCandidate:
    """One file that holds one network; `sha256`, where it is stated, is the hash of its row as in a zoo."""

    name: str
    path: Path
    info: RowInfo
    reading: Reading
    kind: Kind | None = None
    layout: Layout | None = None
    sha256: str | None = None

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:  # it is reported when it is read
            return 0

    def inspect(self) -> State | None:
        require_regular(self.path)
        return self.reading.inspect(self.path, self.kind)

    def digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self) -> State:
        require_regular(self.path)
        state = self.reading.read(self.path, self.kind)
        if self.layout is not None:
            self.layout.check(state)
            self._check_hash(state, self.layout)
        return state

    def _check_hash(self, state: Mapping[str, Tensor], layout: Layout) -> None:
        weights = layout.flatten([state])
        parts = [weights.vectors[0], *(weights.integers[spec.name][0] for spec in layout.integer)]
        if self.sha256 is not None and row_sha256([raw_bytes(part) for part in parts]) != self.sha256:
            raise ArtifactError(f"{self.path} was changed or damaged after it was exported", "export it again")
