"""The one writer of a zoo: seals a segment, then logs it; a crash between the two is healed on the next open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.errors import BadInput
from weightsmith.hashed import HashedLog
from weightsmith.layout import Weights
from weightsmith.zoo.contents import Contents, contents_of
from weightsmith.zoo.ledger import LOG, SEGMENTS, SegmentRecord
from weightsmith.zoo.rows import Quarantined, Row, RowInfo, Run
from weightsmith.zoo.segment import SegmentFile, seal

if TYPE_CHECKING:
    from weightsmith.zoo.store import Zoo


@dataclass(frozen=True)
class Appended:
    """What became of the networks given to one `append`: the rows stored, and those refused with their reasons."""

    rows: list[Row]
    quarantined: list[Quarantined]


class ZooWriter:
    """Appends to `zoo` while its lock is held; made by `Zoo.writer`. What was appended is read through `zoo`."""

    def __init__(self, zoo: Zoo, unlogged: Sequence[SegmentRecord]) -> None:
        self.zoo = zoo
        self._log = HashedLog(zoo.path / LOG)
        self._unlogged = list(unlogged)
        self._flush()

    def append(self, weights: Weights, rows: Sequence[RowInfo], provenance: Mapping[str, Any]) -> Appended:
        """Seal networks `[batch, parameters]` as one segment and log it; when this returns they survive a power loss.

        A network with NaN or infinity is not stored: it is quarantined with its reason and the rest goes on. Appending
        the same again changes nothing. Raises `BadInput` for a run and step that is stored with other contents,
        `LayoutMismatch` for a wrong dtype or shape, and `EnvironmentFault` (what was stored before is intact).
        """
        self._flush()
        contents, tensors = contents_of(weights, rows, provenance)
        present = self.zoo.find_segment(contents.sha256)
        if present is None:
            self._refuse_stored(contents)
            path = seal(self.zoo.path / SEGMENTS, self.zoo.segments, contents, tensors)
            present = SegmentRecord.of(SegmentFile(path))
            self.zoo.add_segment(present)
            self._unlogged.append(present)
            self._flush()
        return Appended(self.zoo.rows_of(present.file), list(contents.quarantined))

    def _flush(self) -> None:
        if self._unlogged:
            self._log.append([record.to_json() for record in self._unlogged])
            self._unlogged.clear()

    def _refuse_stored(self, contents: Contents) -> None:
        seen: set[tuple[Run, int]] = set()
        for run, step in ((row["run"], row["step"]) for row in contents.rows):
            if self.zoo.has(run, step) or (run, step) in seen:
                raise BadInput(
                    f"run {run!r}, step {step} is in {self.zoo.path} already, or given twice",
                    "append only what is missing; a stored network never changes",
                )
            seen.add((run, step))
