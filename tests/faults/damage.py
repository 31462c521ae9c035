"""What happens to files and disks: they are cut, flipped and filled up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def cut(data: bytes) -> Iterator[bytes]:
    return (data[:end] for end in range(len(data)))


def flipped(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        yield bytes(changed)


def fill(disk: Path, leave: int) -> Path:
    """Use up the disk but for about `leave` bytes, where there is as much."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    os.truncate(filler, max(0, filler.stat().st_size // 4096 * 4096 - leave))
    return filler
