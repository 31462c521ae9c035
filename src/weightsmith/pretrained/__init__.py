"""Pretrained: synthesizers that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

# Name -> what it generates. Each is a folder of that name beside this file; its card holds the command that made it.
PRETRAINED: dict[str, str] = {}


def pretrained_folder(name: str) -> Path:
    """Where the synthesizer of this name lies. Raises `KeyError` for another name."""
    assert name in PRETRAINED, "callers look first, and name those that there are"
    return Path(__file__).parent / name
