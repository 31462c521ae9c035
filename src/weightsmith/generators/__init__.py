"""Generators: sample tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.interfaces import Generator
from weightsmith.settings.registry import GENERATORS, load_entry, nearest
from weightsmith.tokens import TokenSpace


def make_generator(name: str, space: TokenSpace, options: Mapping[str, Any], seed: int) -> Generator:
    """An untrained generator of tokens in `space`, by its registered name; `seed` gives its initial weights."""
    if name not in GENERATORS:
        raise BadInput(f"unknown generator {name!r}", f"nearest known: {nearest(name, GENERATORS)}")
    return load_entry(GENERATORS[name])(space, seed, **options)
