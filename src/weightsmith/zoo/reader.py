"""Reader: rows of a zoo as weights, from a few mapped segments at a time, so that a zoo may be larger than memory."""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from weightsmith.layout import Layout, Weights
from weightsmith.zoo.ledger import SegmentRecord
from weightsmith.zoo.rows import Row
from weightsmith.zoo.segment import SegmentFile

BATCH_BYTES = 32_000_000  # of networks that iteration gives at once
_OPEN_SEGMENTS = 64  # each holds a file open
_RESIDENT_BYTES = 32_000_000  # of mapped files that may lie in this process's memory after a read
_OWN_MAPPING = 1_000_000  # bytes


class Reader:
    """Maps the segments of `records`, which lie in `folder`, when they are wanted, and lets the oldest go."""

    def __init__(self, folder: Path, records: Mapping[str, SegmentRecord]) -> None:
        self._folder, self._records = folder, records
        self._open: OrderedDict[str, SegmentFile] = OrderedDict()
        self._resident = 0

    def segment(self, file: str) -> SegmentFile:
        """A segment, checked against its record when it is opened. Raises `ArtifactError`."""
        if file not in self._open:
            self._records[file].check(self._folder)
            self._open[file] = SegmentFile(self._folder / file)
            if len(self._open) > _OPEN_SEGMENTS:
                self._open.popitem(last=False)
        self._open.move_to_end(file)
        return self._open[file]

    def layout(self, row: Row) -> Layout:
        return self.segment(row.segment).contents.layout

    def read(self, rows: Sequence[Row]) -> Weights:
        """The weights `[row, parameters]` of rows of one layout; see `Zoo.read`."""
        layout = self.layout(rows[0])
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row.segment, []).append(place)
        integers = {t.name: torch.empty(len(rows), *t.shape, dtype=t.torch_dtype) for t in layout.integer}
        weights = Weights(layout, _own_memory(len(rows), layout), integers)
        at_once = max(1, _RESIDENT_BYTES // max(1, _network_bytes(layout)))
        for file, targets in places.items():
            segment = self.segment(file)
            layout.require_same(segment.contents.layout, f"segment {file}")
            for start in range(0, len(targets), at_once):
                visit = targets[start : start + at_once]
                segment.read_into([rows[place].position for place in visit], weights, visit)
                self._let_go(len(visit) * _network_bytes(layout))
        return weights

    def batch_size(self, row: Row) -> int:
        """How many networks of this row's layout are read at once where nobody says."""
        return max(1, BATCH_BYTES // max(1, _network_bytes(self.layout(row))))

    def _let_go(self, read: int) -> None:
        """Mapped files count as this process's memory; a zoo larger than memory must not come to lie in it."""
        self._resident += read
        if self._resident >= _RESIDENT_BYTES:
            for segment in self._open.values():
                segment.release()
            self._resident = 0


def _network_bytes(layout: Layout) -> int:
    return layout.parameters * layout.dtype.itemsize


def _own_memory(rows: int, layout: Layout) -> Tensor:
    """Vectors `[row, parameters]`, not filled, in a mapping of their own where they are large.

    On the heap, what is freed between long-lived small things is not given back, and memory would grow with the zoo.
    """
    size = rows * _network_bytes(layout)
    if size < _OWN_MAPPING:
        return torch.empty(rows, layout.parameters, dtype=layout.dtype)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=layout.dtype).view(rows, layout.parameters)
