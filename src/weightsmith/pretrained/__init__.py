"""Pretrained: synthesizers that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from weightsmith.errors import BadInput
from weightsmith.settings.registry import nearest

# Name -> what it generates. Each is a folder of that name beside this file; `benchmarks.pretrained` made it.
PRETRAINED: dict[str, str] = {"mnist-mlp": "784-32-32-10 perceptrons for MNIST"}


def synthesizer_folder(name: str | Path) -> Path:
    """The folder of a synthesizer: the path itself, or that of one that comes along. A folder goes before a name.

    Raises `BadInput` where it is neither.
    """
    folder = Path(name)
    if folder.exists():
        return folder
    if str(name) in PRETRAINED:
        return Path(__file__).parent / str(name)
    near = nearest(str(name), PRETRAINED)
    hint = f"; the nearest is {near!r}" if near else ""
    raise BadInput(
        f"{name} is no folder", f"give a synthesizer's folder, or one that comes along: {', '.join(PRETRAINED)}{hint}"
    )
