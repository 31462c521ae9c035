"""Atomic and durable files: what is on disk is old or new, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from weightsmith.errors import EnvironmentFault

LEFTOVER_PREFIX = ".weightsmith-"
LEFTOVER_SUFFIX = ".tmp"
_OWNER = re.compile(r"([0-9]{1,9})-[0-9a-f]{8}")  # process and token


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
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs only what could be written
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _leftover_name() -> str:
    return f"{LEFTOVER_PREFIX}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{LEFTOVER_SUFFIX}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`: file synced, renamed, folder synced.

    A crash at any moment leaves the old file or the new one, whole. Raises `EnvironmentFault` when the
    disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.parent / _leftover_name()
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


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, which must not exist; on success it is renamed to it, whole.

    Every file in it is synced first. Raises `EnvironmentFault` when the disk is full or the parent not writable.
    """
    folder = Path(folder)
    temporary = folder.parent / _leftover_name()
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (path for path in temporary.rglob("*") if path.is_file()):
            sync_file(path)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise environment_fault(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _process_is_alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 is a Ctrl-C to the process: leave its files alone
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files and folders in `folder` left by dead weightsmith processes of this host; no others."""
    swept = []
    prefix = f"{LEFTOVER_PREFIX}{socket.gethostname()}-"
    for path in folder.glob(f"{LEFTOVER_PREFIX}*{LEFTOVER_SUFFIX}"):
        ours = _OWNER.fullmatch(path.name.removesuffix(LEFTOVER_SUFFIX).removeprefix(prefix))
        if ours is None or path.is_symlink() or _process_is_alive(int(ours[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        swept.append(path)
    return swept


def require_writable_parent(path: Path) -> None:
    """Prove that a file can be written where `path` will be, and leave nothing behind: folders are made later.

    Raises `EnvironmentFault` where something above it is a file, read-only or not permitted.
    """
    require_writable_folder(next(above for above in path.absolute().parents if above.exists()))


def require_writable_folder(folder: Path) -> None:
    """Create `folder` if need be and prove that a file can be written there, before any work starts.

    Raises `EnvironmentFault` when it is a file, read-only or not permitted.
    """
    if folder.exists() and not folder.is_dir():
        raise EnvironmentFault(f"output path {folder} is a file, not a folder", "choose another output folder")
    probe = folder / _leftover_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise environment_fault(error, folder) from error


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
