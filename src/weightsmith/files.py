"""Atomic, durable and hashed files: what is on disk is old or new, whole, and says so itself."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from weightsmith.errors import ArtifactError, EnvironmentFault

LEFTOVER_PREFIX = ".weightsmith-"
LEFTOVER_SUFFIX = ".tmp"
NO_HASH = "0" * 64


def environment_fault(error: OSError, path: Path) -> EnvironmentFault:
    """Turn an operating-system error on `path` into one that names the file and the remedy."""
    remedies = {
        errno.ENOSPC: "free some disk space and run the same command again; what was there before is intact",
        errno.EDQUOT: "free some disk quota and run the same command again; what was there before is intact",
        errno.EACCES: "choose a folder that you may write to, or change its permissions",
        errno.EPERM: "choose a folder that you may write to, or change its permissions",
        errno.EROFS: "choose a folder on a file system that is not read-only",
    }
    remedy = remedies.get(error.errno or 0, "check the disk and the path, then run the same command again")
    return EnvironmentFault(f"cannot write {path}: {error.strerror or error}", remedy)


def sync_folder(folder: Path) -> None:
    """Make a rename or creation in `folder` survive a power loss."""
    if os.name == "nt":  # Windows has no descriptor of a folder; its rename is journalled by NTFS
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of `path` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`: file synced, renamed, folder synced.

    A crash at any moment leaves the old file or the new one, whole. Raises `EnvironmentFault` when the
    disk is full or the folder cannot be written.
    """
    path = Path(path)
    token = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.parent / f"{LEFTOVER_PREFIX}{token}{LEFTOVER_SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise environment_fault(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _process_is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files in `folder` left by dead weightsmith processes of this host, and nothing else."""
    swept = []
    prefix = f"{LEFTOVER_PREFIX}{socket.gethostname()}-"
    for path in folder.glob(f"{LEFTOVER_PREFIX}*{LEFTOVER_SUFFIX}"):
        pid, _, token = path.name.removeprefix(prefix).removesuffix(LEFTOVER_SUFFIX).partition("-")
        ours = path.name.startswith(prefix) and pid.isdigit() and len(token) == 8
        if ours and not path.is_symlink() and path.is_file() and not _process_is_alive(int(pid)):
            path.unlink(missing_ok=True)
            swept.append(path)
    return swept


def require_writable_folder(folder: Path) -> None:
    """Create `folder` if need be and prove that a file can be written there, before any work starts.

    Raises `EnvironmentFault` when it is a file, read-only or not permitted.
    """
    if folder.exists() and not folder.is_dir():
        raise EnvironmentFault(f"output path {folder} is a file, not a folder", "choose another output folder")
    probe = folder / f"{LEFTOVER_PREFIX}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{LEFTOVER_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise environment_fault(error, folder) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        return json.loads(data, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
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
            entry = parse_json(line, f"{self.path} line {number}")
            if not isinstance(entry, dict) or "record" not in entry or line != self._line(head, entry["record"]):
                raise ArtifactError(
                    f"{self.path} line {number} was changed or damaged after it was written",
                    "restore the file from a copy, or delete it and run the command that made it again",
                )
            head = entry["sha256"]
            records.append(entry["record"])
        self._head, self._end = head, end
        return LogContents(records, head, end, torn=end != len(data))

    def append(self, records: list[dict[str, Any]]) -> str:
        """Append `records` in one write, synced; returns the new head hash. One writer at a time."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._end:
            self.read()
        head, lines = self._head, []
        for record in records:
            lines.append(self._line(head, record))
            head = json.loads(lines[-1])["sha256"]
        try:
            self._write(b"".join(lines), created=size == 0)
        except OSError as error:
            raise environment_fault(error, self.path) from error
        self._head, self._end = head, self._end + sum(map(len, lines))
        return head

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
    def _line(previous: str, record: Any) -> bytes:
        digest = hashlib.sha256((previous + canonical_json(record)).encode()).hexdigest()
        return (canonical_json({"record": record, "sha256": digest}) + "\n").encode()


@contextlib.contextmanager
def exclusive_lock(path: Path, owner_of: str) -> Iterator[None]:
    """Hold `path` locked while the block runs; the kernel frees it when its owner dies.

    Raises `EnvironmentFault` when another live process holds it.
    """
    lock = filelock.FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise EnvironmentFault(
            f"another process is writing {owner_of}", "wait until it has finished, or stop it, then run again"
        ) from None
    except OSError as error:
        raise environment_fault(error, path) from error
    try:
        yield
    finally:
        lock.release()
