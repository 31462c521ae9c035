"""Pretrained: synthesizers that come with the package, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from weightsmith.errors import BadInput
from weightsmith.settings.registry import nearest

# Name -> what it generates. Each is a folder of that name beside this file.
PRETRAINED: dict[str, str] = {
    "mnist-mlp": "784-32-32-10 perceptrons for MNIST",  # made by `benchmarks.pretrained`
    "mnist-universal": "any architecture for MNIST",  # made by `benchmarks.universal_training`
    # Made by `benchmarks.universal_start_training`.
    "mnist-cnn-start": "the 421,642-parameter CNN for MNIST from any initialisation of it",
}
# Data set -> the one of them that writes weights of any architecture for it.
UNIVERSAL: dict[str, str] = {"mnist": "mnist-universal"}
FROM_START = ("mnist-cnn-start",)
# Those that write weights for a module, and those whose networks are sampled.
WRITING = (*UNIVERSAL.values(), *FROM_START)
SAMPLED = tuple(name for name in PRETRAINED if name not in WRITING)


def synthesizer_folder(name: str | Path, fitting: Iterable[str] = tuple(PRETRAINED)) -> Path:
    """The folder of a synthesizer: the path itself, or that of one that comes along. A folder goes before a name.

    Raises `BadInput`, naming those that are `fitting`, where it is neither, or does not lie in this installation.
    """
    folder = Path(name)
    if folder.exists():
        return folder
    if str(name) in PRETRAINED:
        return _shipped(str(name))
    near = nearest(str(name), fitting)
    hint = f"; the nearest is {near!r}" if near else ""
    raise BadInput(
        f"{name} is no folder", f"give a synthesizer's folder, or one that comes along: {', '.join(fitting)}{hint}"
    )


def _shipped(name: str) -> Path:
    folder = Path(__file__).parent / name
    if not folder.is_dir():
        raise BadInput(
            f"synthesizer {name!r} is not part of this installation",
            "install a release that has it, or train it and give the folder of what was trained",
        )
    return folder
