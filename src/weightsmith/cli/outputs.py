"""Where networks are written: one file, numbered files, or a folder; all or none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import BadInput
from weightsmith.files import replacing, replacing_folder, require_writable_parent

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
PICTURES = (".png", ".svg")
_FOREIGN = (".pt", ".pth", ".bin", ".npz", ".ckpt", ".onnx", ".h5")


def network_files(out: Path, n: int) -> list[Path]:
    """The files that `n` networks are written to: `out` itself, `NAME-00000.safetensors`, or in the folder `out`.

    Refuses what exists, and what cannot be written, before any work is done.
    """
    if out.suffix in _FOREIGN:
        raise BadInput(f"--out {out} does not end in {SUFFIX}", f"networks are written as {SUFFIX}; name it so")
    if out.suffix != SUFFIX:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise BadInput(f"{out} exists", "choose a new folder with --out")
        require_writable_parent(out)
        return [out / f"sample-{i:05d}{SUFFIX}" for i in range(n)]
    files = [out] if n == 1 else [out.with_name(f"{out.stem}-{i:05d}{SUFFIX}") for i in range(n)]
    for file in files:
        if file.exists():
            raise BadInput(f"{file} exists", "choose another name with --out, or delete it first")
    require_writable_parent(out)
    return files


def require_new_picture(path: Path, option: str = "--picture") -> None:
    """Refuse a picture that exists, is of no known kind, or cannot be written, before any work is done."""
    if path.suffix.lower() not in PICTURES:
        raise BadInput(f"no picture can be written as {path.name!r}", f"end its name with {' or '.join(PICTURES)}")
    if path.exists():
        raise BadInput(f"{path} exists", f"choose another name with {option}, or delete it first")
    require_writable_parent(path)


def write_networks(out: Path, files: Sequence[Path], states: Sequence[Mapping[str, Tensor]]) -> None:
    """Write each network to its file; none of the files is there before all of them are whole, nor after an error."""
    from weightsmith.tensorfile import write_tensors

    with _none_of(files), contextlib.ExitStack() as stack:
        if out.suffix == SUFFIX:
            places = [stack.enter_context(replacing(file)) for file in files]
        else:
            folder = stack.enter_context(replacing_folder(out))
            places = [folder / file.name for file in files]
        for place, state in zip(places, states, strict=True):
            write_tensors(place, state)


@contextlib.contextmanager
def _none_of(files: Sequence[Path]) -> Iterator[None]:
    """Where the block fails, take away those of its files that it has written."""
    try:
        yield
    except BaseException:
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        raise
