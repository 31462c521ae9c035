"""Codecs: weights to tokens and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsmith.codecs.canonical import CanonicalCodec
from weightsmith.codecs.given import known_numbers
from weightsmith.codecs.reconstruction import reconstruction_error
from weightsmith.codecs.subset import SubsetCodec
from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec
from weightsmith.settings.registry import CODECS, load_entry, nearest
from weightsmith.symmetry import Symmetry

__all__ = ["CanonicalCodec", "known_numbers", "make_codec", "reconstruction_error"]


def make_codec(name: str, options: Mapping[str, Any], symmetry: Symmetry | None = None) -> Codec:
    """An unfitted codec by its registered name, with the stages that its options ask for before it.

    `canonical` and `roles` are options of every codec: networks are made canonical by `symmetry` first, then reduced to
    the tensors of those roles, then given to the codec. Raises `BadInput` for an unknown name or value.
    """
    if name not in CODECS:
        raise BadInput(f"unknown codec {name!r}", f"nearest known: {nearest(name, CODECS)}")
    own = {key: value for key, value in options.items() if key not in ("canonical", "roles")}
    codec: Codec = load_entry(CODECS[name])(**own)
    if options.get("roles") is not None:
        codec = SubsetCodec(codec, options["roles"])
    return CanonicalCodec(codec, symmetry) if options.get("canonical") else codec
