"""Samplers: one way each from a state at time `t` to one at an earlier time."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from weightsmith.diffusion.samplers.sampler import Sampler
from weightsmith.errors import BadInput
from weightsmith.settings.registry import SAMPLERS, load_entry, nearest


def make_sampler(name: str, **options: Any) -> Sampler:
    """A sampler by its registered name. Raises `BadInput` for a name or an option that does not exist."""
    if name not in SAMPLERS:
        raise BadInput(f"unknown sampler {name!r}", f"nearest: {nearest(name, SAMPLERS)}; known: {', '.join(SAMPLERS)}")
    kind = load_entry(SAMPLERS[name])
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise BadInput(f"sampler {name} has no option {option!r}", f"it takes {', '.join(known) or 'none'}")
    return kind(**options)
