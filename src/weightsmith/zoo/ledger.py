"""The ledger: which segments a zoo holds, from its log and its folder, reconciled; the segments are the truth."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsmith.errors import ArtifactError
from weightsmith.hashed import HashedLog
from weightsmith.zoo.rows import Quarantined, check_row_json, quarantined_from_json
from weightsmith.zoo.segment import NAME, SegmentFile

SEGMENTS = "segments"
LOG = "records.jsonl"
_REBUILD = f"delete {LOG}: it is rebuilt from the segments, each of which is verified"
_KEYS = {"kind", "file", "bytes", "header_sha256", "layout", "rows", "quarantined"}


@dataclass(frozen=True)
class SegmentRecord:
    """What the log says of one sealed segment: its size, hashes and rows, so that opening a zoo need not read it."""

    file: str
    bytes: int
    header_sha256: str
    layout: str
    rows: Sequence[dict[str, Any]]
    quarantined: Sequence[Quarantined]

    @classmethod
    def of(cls, segment: SegmentFile) -> SegmentRecord:
        contents = segment.contents
        return cls(
            segment.path.name,
            segment.size,
            segment.header_sha256,
            contents.layout.fingerprint,
            contents.rows,
            contents.quarantined,
        )

    def to_json(self) -> dict[str, Any]:
        quarantined = [vars(row) for row in self.quarantined]
        return {"kind": "segment", **vars(self), "quarantined": quarantined}

    @classmethod
    def from_json(cls, document: Any, where: str) -> SegmentRecord:
        """Read what `to_json` wrote, found in `where`. Raises `ArtifactError`."""
        types = {"file": str, "bytes": int, "header_sha256": str, "layout": str, "rows": list, "quarantined": list}
        holds = isinstance(document, dict) and document.keys() == _KEYS and document["kind"] == "segment"
        if not holds or any(type(document[key]) is not kind for key, kind in types.items()):
            raise ArtifactError(f"{where} is not a segment record", _REBUILD)
        if not NAME.fullmatch(document["file"]):
            raise ArtifactError(f"{where} names {document['file']!r}, which is no segment's name", _REBUILD)
        for row in document["rows"]:
            check_row_json(row, where)
        refused = [quarantined_from_json(entry, where) for entry in document["quarantined"]]
        return cls(**{key: document[key] for key in types if key != "quarantined"}, quarantined=refused)

    def check(self, folder: Path) -> None:
        """Raise `ArtifactError` unless the file in `folder` has the recorded size and header; its rows are not read."""
        path = folder / self.file
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                prefix = file.read(8)
                length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
                header = file.read(min(length, size))
        except OSError as error:
            raise ArtifactError(
                f"{path} is recorded in {LOG} but cannot be read: {error.strerror}", "restore the file from a copy"
            ) from None
        if size != self.bytes or hashlib.sha256(prefix + header).hexdigest() != self.header_sha256:
            raise ArtifactError(f"{path} was changed or damaged after it was sealed", "restore the file from a copy")


@dataclass(frozen=True)
class Ledger:
    """All segments of a zoo in their order, and those among them that the log does not hold yet."""

    records: list[SegmentRecord]
    unlogged: list[SegmentRecord]


def read_ledger(folder: Path) -> Ledger:
    """Reconcile the log of the zoo in `folder` with its segments.

    A segment without a log line is verified, row by row, and adopted; a torn last line is left out. Raises
    `ArtifactError` where the log is damaged or a segment is missing, changed or not whole.
    """
    logged = _read_log(folder / LOG)
    known = {record.file for record in logged}
    if len(known) != len(logged):
        raise ArtifactError(f"{folder / LOG} names one segment twice", _REBUILD)
    for record in logged:
        record.check(folder / SEGMENTS)
    adopted = [_verified(path) for path in _segment_paths(folder / SEGMENTS) if path.name not in known]
    records = logged + adopted
    if [_turn(record) for record in records] != list(range(len(records))):
        raise ArtifactError(
            f"the segments of {folder} are not numbered from 0 without a gap",
            "restore the missing segments from a copy",
        )
    return Ledger(records, adopted)


def _read_log(path: Path) -> list[SegmentRecord]:
    try:
        entries = HashedLog(path).read().records
    except ArtifactError as error:
        raise ArtifactError(error.message, _REBUILD) from None
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None
    return [SegmentRecord.from_json(entry, f"{path} line {number}") for number, entry in enumerate(entries, 1)]


def _segment_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix == ".safetensors" and path.name[0] != "."]
    for path in found:
        if NAME.fullmatch(path.name) is None:
            raise ArtifactError(f"{path} is not a segment of this zoo", "move it elsewhere, or give it its name back")
    return sorted(found, key=lambda path: path.name)


def _verified(path: Path) -> SegmentRecord:
    segment = SegmentFile(path)
    damage = segment.damage()
    if damage:
        raise ArtifactError("; ".join(damage), "restore the file from a copy, or remove it and build its rows again")
    return SegmentRecord.of(segment)


def _turn(record: SegmentRecord) -> int:
    return int(record.file.partition("-")[0])
