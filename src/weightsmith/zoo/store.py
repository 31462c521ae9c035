"""Zoo: an append-only folder of checkpoints with what is known about each; read by rows, split by runs."""

from __future__ import annotations

import contextlib
import gc
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import LEFTOVER_PREFIX, exclusive_lock, require_writable_folder, sweep_leftovers
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.layout import Layout, Weights
from weightsmith.zoo.catalogue import Catalogue
from weightsmith.zoo.export import export_rows
from weightsmith.zoo.ledger import SEGMENTS, SegmentRecord, read_ledger
from weightsmith.zoo.reader import Reader
from weightsmith.zoo.rows import Quarantined, Row, Run, require_json
from weightsmith.zoo.segment import SegmentFile
from weightsmith.zoo.splits import split_runs
from weightsmith.zoo.writer import ZooWriter

SCHEMA = "weightsmith.zoo/1"
LOCK = ".lock"
MANIFEST = "zoo.json"


@dataclass(frozen=True)
class VerifyReport:
    """What was read and found whole: counts of segments and networks, and bytes."""

    segments: int
    rows: int
    bytes: int


class Zoo:
    """An opened zoo; reading it changes nothing on disk. Open it with `Zoo.open`, write with `Zoo.writer`."""

    def __init__(self, path: Path, id: str, about: Mapping[str, Any], records: Sequence[SegmentRecord]) -> None:
        self.path, self.id, self.about = path, id, about
        self._records: dict[str, SegmentRecord] = {}
        self._starts: dict[str, int] = {}
        self._rows: list[Row] = []
        self._identities: dict[tuple[Run, int], int] = {}
        self._runs: dict[Run, list[int]] = {}
        self._reader = Reader(path / SEGMENTS, self._records)
        for record in records:
            self.add_segment(record)

    @classmethod
    def create(cls, path: Path | str, about: Mapping[str, Any]) -> Zoo:
        """Make an empty zoo in a new or empty folder; `about` is any JSON mapping, say who made it and how.

        Raises `BadInput` when the folder holds something, which is left untouched, and `EnvironmentFault`.
        """
        path = Path(path)
        require_json(about, "about")
        _require_empty(path)
        require_writable_folder(path)
        with exclusive_lock(path / LOCK, f"the zoo {path}"):
            _require_empty(path)
            sweep_leftovers(path)
            document = {"schema": SCHEMA, "id": secrets.token_hex(16), "about": dict(about)}
            write_sealed_json(path / MANIFEST, document)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> Zoo:
        """Open a zoo for reading: its log, sizes and segment headers are checked now, each row when it is read.

        Raises `ArtifactError` when the folder is no zoo, is of another version, or is damaged.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        with _no_collection():
            return cls(path, manifest["id"], manifest["about"], read_ledger(path).records)

    @classmethod
    @contextlib.contextmanager
    def writer(cls, path: Path | str) -> Iterator[ZooWriter]:
        """Hold the zoo's lock and append to it; leftovers of a killed writer are swept and its segments logged.

        Raises `EnvironmentFault` when another process is writing it, and what `open` raises.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        with exclusive_lock(path / LOCK, f"the zoo {path}"):
            sweep_leftovers(path)
            sweep_leftovers(path / SEGMENTS)
            with _no_collection():
                ledger = read_ledger(path)
                zoo = cls(path, manifest["id"], manifest["about"], ledger.records)
            yield ZooWriter(zoo, ledger.unlogged)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Sequence[Row]:
        """Every network, in the order in which they were appended."""
        return self._rows

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of their first network."""
        return list(self._runs)

    @property
    def segments(self) -> int:
        """How many segments are sealed."""
        return len(self._records)

    @property
    def bytes(self) -> int:
        """How large the segments are together."""
        return sum(record.bytes for record in self._records.values())

    @property
    def quarantined(self) -> list[Quarantined]:
        """The networks that were refused, each with its reason."""
        return [row for record in self._records.values() for row in record.quarantined]

    @property
    def layouts(self) -> dict[str, Layout]:
        """The layouts in this zoo by fingerprint."""
        first = {record.layout: record.file for record in reversed(self._records.values())}
        return {layout: self._reader.segment(file).contents.layout for layout, file in reversed(first.items())}

    def has(self, run: Run, step: int) -> bool:
        """Whether a network of this run and step is stored."""
        return (run, step) in self._identities

    def select(
        self,
        run: Run | Iterable[Run] | None = None,
        step: int | Iterable[int] | None = None,
        where: str | None = None,
    ) -> list[Row]:
        """The rows, in order, of these runs and steps for which the SQL condition `where` holds.

        `where` compares columns: `accuracy > 0.95 and step = 5`. Raises `BadInput` naming the columns.
        """
        rows = self._rows if where is None else [self._rows[i] for i in self._catalogue.find(where)]
        runs = None if run is None else {run} if isinstance(run, int | str) else set(run)
        steps = None if step is None else {step} if isinstance(step, int) else set(step)
        return [row for row in rows if (runs is None or row.run in runs) and (steps is None or row.step in steps)]

    def read(self, rows: Sequence[Row]) -> Weights:
        """The weights `[row, parameters]` of rows of one layout, in the order given, each checked by its hash.

        Only these rows are read and copied. Raises `LayoutMismatch` when their layouts differ, `ArtifactError` when
        bytes were changed, `BadInput` for no rows or rows of another zoo.
        """
        if not rows:
            raise BadInput("no rows to read", "give at least one row of this zoo")
        foreign = next((row for row in rows if row not in self._rows[row.index : row.index + 1]), None)
        if foreign is not None:
            raise BadInput(f"run {foreign.run!r}, step {foreign.step} is not a row of {self.path}", "use zoo.rows")
        return self._reader.read(rows)

    def batches(
        self, rows: Sequence[Row] | None = None, size: int | None = None
    ) -> Iterator[tuple[Weights, list[Row]]]:
        """These rows (all, without any) in order, some at a time: `size` networks, or about 32 MB, of one layout each.

        Memory does not grow with the zoo. Raises what `read` raises.
        """
        batch: list[Row] = []
        for row in self._rows if rows is None else rows:
            if batch and (row.layout != batch[0].layout or len(batch) >= (size or self._reader.batch_size(batch[0]))):
                yield self.read(batch), batch
                batch = []
            batch.append(row)
        if batch:
            yield self.read(batch), batch

    def trajectory(self, run: Run) -> tuple[Weights, list[Row]]:
        """The networks of one run, `[step, parameters]`, in the order of their steps. Raises `BadInput`."""
        if run not in self._runs:
            raise BadInput(f"{self.path} holds no run {run!r}", "choose one of zoo.runs")
        rows = sorted((self._rows[i] for i in self._runs[run]), key=lambda row: row.step)
        return self.read(rows), rows

    def provenance(self, row: Row) -> Mapping[str, Any]:
        """What the row shares with its segment: architecture, data set, settings, versions, command."""
        return self._reader.segment(row.segment).contents.provenance

    def split_runs(self, parts: Mapping[str, float | int], seed: int) -> dict[str, list[Run]]:
        """Disjoint runs for named parts, as counts or as fractions; see `splits.split_runs`."""
        return split_runs(self.runs, parts, seed)

    def export(self, folder: Path | str, format: str = "safetensors", rows: Sequence[Row] | None = None) -> list[Path]:
        """Write one checkpoint file a row and an `index.csv`, or a Parquet table; see `export.export_rows`."""
        return export_rows(self, Path(folder), format, self._rows if rows is None else rows)

    def verify(self, progress: Callable[[int], None] | None = None) -> VerifyReport:
        """Read every byte again and check every hash; `progress` is told the bytes of each segment.

        Raises `ArtifactError` listing all damage.
        """
        damage = _damage_of(lambda: _read_manifest(self.path)) + _damage_of(lambda: read_ledger(self.path))
        for record in self._records.values():
            damage += _damage_of(lambda record=record: self._verify_segment(record))  # type: ignore[misc]
            if progress is not None:
                progress(record.bytes)
        if damage:
            listed = "\n  ".join(dict.fromkeys(damage))
            raise ArtifactError(f"{self.path} is damaged:\n  {listed}", "restore the named files from a copy")
        return VerifyReport(self.segments, len(self), sum(record.bytes for record in self._records.values()))

    def find_segment(self, contents_sha256: str) -> SegmentRecord | None:
        """The segment whose contents have this hash, if it is stored."""
        name = next((file for file in self._records if file.endswith(f"-{contents_sha256[:16]}.safetensors")), None)
        return None if name is None else self._records[name]

    def rows_of(self, segment: str) -> list[Row]:
        """The rows of one segment file, in order."""
        start = self._starts[segment]
        return self._rows[start : start + len(self._records[segment].rows)]

    def add_segment(self, record: SegmentRecord) -> None:
        """Take a sealed segment's rows into this view; it must be on disk. Raises `ArtifactError` for a row twice."""
        self._records[record.file], self._starts[record.file] = record, len(self._rows)
        for position, entry in enumerate(record.rows):
            row = Row(len(self._rows), **entry, segment=record.file, position=position, layout=record.layout)
            if self._identities.setdefault((row.run, row.step), row.index) != row.index:
                raise ArtifactError(
                    f"{self.path} holds run {row.run!r}, step {row.step} twice, again in {record.file}",
                    "remove the segment that was copied in by hand",
                )
            self._rows.append(row)
            self._runs.setdefault(row.run, []).append(row.index)
        self.__dict__.pop("_catalogue", None)

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self._rows)

    def _verify_segment(self, record: SegmentRecord) -> None:
        segment = SegmentFile(self.path / SEGMENTS / record.file)
        if SegmentRecord.of(segment) != record:
            raise ArtifactError(f"{segment.path} is not what the log says it is")
        damage = segment.damage()
        if damage:
            raise ArtifactError("\n  ".join(damage))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Rows by the ten thousand, none of which is garbage: looking for it again and again takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _damage_of(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ArtifactError as error:
        return [error.message]
    return []


def _require_empty(path: Path) -> None:
    if path.is_dir():
        others = [p.name for p in path.iterdir() if p.name != LOCK and not p.name.startswith(LEFTOVER_PREFIX)]
        if others:
            raise BadInput(f"{path} is not empty: it holds {sorted(others)[0]!r}", "choose a new folder for the zoo")


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"{path} is not a zoo: it has no {MANIFEST}", "give a folder that weightsmith made")
    manifest = read_sealed_json(path / MANIFEST)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(
            f"{path / MANIFEST} has schema {schema!r}, not {SCHEMA!r}", "open it with the weightsmith that made it"
        )
    if manifest.keys() != {"schema", "id", "about"} or not isinstance(manifest["about"], dict):
        raise ArtifactError(f"{path / MANIFEST} does not hold exactly schema, id, about", "restore it from a copy")
    return manifest
