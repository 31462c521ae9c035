"""Documents and logs that carry their own hash, so that a changed byte is noticed when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from weightsmith.errors import ArtifactError
from weightsmith.files import environment_fault, sync_folder, write_bytes

NO_HASH = "0" * 64
_BEFORE = b'{"record":'
_AFTER_BYTES = len(',"sha256":""}\n') + 64


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(data: bytes | str, name: str) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN or infinity. Raises `ArtifactError` naming `name`."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
        document = json.loads(text, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():  # half a surrogate pair parses, and then cannot be written or hashed
            canonical_json(document).encode()
        return document
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is not valid JSON: {error}", "restore it from a copy or make it again") from None


def canonical_json(document: Any) -> str:
    """The one way weightsmith writes a JSON value that is hashed: sorted keys, no spaces, finite numbers."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(document: Any) -> str:
    """SHA-256 of the canonical JSON of `document`."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _sealed_bytes(document: Any) -> bytes:
    sealed = {"sha256": fingerprint(document), "content": document}
    return (json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_sealed_json(path: Path, document: Any) -> None:
    """Write `{"sha256", "content"}` atomically, so that any changed byte is noticed when it is read."""
    write_bytes(path, _sealed_bytes(document))


def read_sealed_json(path: Path) -> Any:
    """Read what `write_sealed_json` wrote. Raises `ArtifactError` if a single byte differs."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "check the path") from error
    sealed = parse_json(data, str(path))
    if not isinstance(sealed, dict) or set(sealed) != {"sha256", "content"} or _sealed_bytes(sealed["content"]) != data:
        raise ArtifactError(f"{path} was changed or damaged after it was written", "restore it or make it again")
    return sealed["content"]


class LogContents(NamedTuple):
    """The whole records of a hashed log, its last hash, and where its last whole line ends."""

    records: list[dict[str, Any]]
    head: str
    end: int
    torn: bool


class HashedLog:
    """An append-only JSONL file in which every line carries the SHA-256 of itself and all before it.

    Line i is `{"record": r_i, "sha256": h_i}` with `h_i = sha256(h_{i-1} + canonical(r_i))`, `h_0 = 00...0`. A changed,
    removed or reordered line breaks the chain. A last line without its line end is an append that was
    cut short: `read` reports it as torn, and the next `append` removes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._head, self._end = NO_HASH, -1

    def read(self) -> LogContents:
        """All whole records, verified. Raises `ArtifactError` where the chain breaks."""
        data = self.path.read_bytes() if self.path.exists() else b""
        end = data.rfind(b"\n") + 1
        records, head = [], NO_HASH
        for number, line in enumerate(data[:end].splitlines(keepends=True), 1):
            # The hash is taken over the bytes as they stand: writing each record again would double the time.
            text = line[len(_BEFORE) : -_AFTER_BYTES]
            expected, head = self._line(head, text)
            if line != expected:
                raise ArtifactError(
                    f"{self.path} line {number} was changed or damaged after it was written",
                    "restore the file from a copy, or delete it and run the command that made it again",
                )
            records.append(parse_json(text, f"{self.path} line {number}"))
        self._head, self._end = head, end
        return LogContents(records, head, end, torn=end != len(data))

    def append(self, records: list[dict[str, Any]]) -> str:
        """Append `records` in one write, synced; returns the new head hash. One writer at a time."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._end:
            self.read()
        head, lines = self._head, []
        for record in records:
            line, head = self._line(head, canonical_json(record).encode())
            lines.append(line)
        try:
            self._write(b"".join(lines), created=size == 0)
        except OSError as error:
            raise environment_fault(error, self.path) from error
        self._head, self._end = head, self._end + sum(map(len, lines))
        return head

    def rewind(self, count: int) -> None:
        """Keep the first `count` records only, atomically."""
        lines = self.path.read_bytes().splitlines(keepends=True)[:count]
        write_bytes(self.path, b"".join(lines))
        self.read()

    def _write(self, data: bytes, created: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a failed write must not be tried again when the file is closed.
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self._end)
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(self._end)
                raise
        if created:
            sync_folder(self.path.parent)

    @staticmethod
    def _line(previous: str, text: bytes) -> tuple[bytes, str]:
        digest = hashlib.sha256(previous.encode() + text).hexdigest()
        return _BEFORE + text + f',"sha256":"{digest}"}}\n'.encode(), digest
