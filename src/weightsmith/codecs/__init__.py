"""Codecs: weights to tokens and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec
from weightsmith.settings.registry import CODECS, load_entry, nearest


def make_codec(name: str, options: Mapping[str, Any]) -> Codec:
    """An unfitted codec by its registered name. Raises `BadInput` for an unknown one."""
    if name not in CODECS:
        raise BadInput(f"unknown codec {name!r}", f"nearest known: {nearest(name, CODECS)}")
    return load_entry(CODECS[name])(**options)
