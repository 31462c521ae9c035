"""What a training is, as a fingerprint: a state is resumed by the same training only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from torch import Tensor

from weightsmith.hashed import fingerprint
from weightsmith.tensorfile import raw_bytes


def described(value: Any) -> Any:
    """A JSON value that stands for `value` in any process: tensors by their bytes, callables by name and arguments.

    Of a dataclass, the fields by which two are compared. An object of an unknown kind is described by its type alone.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw_bytes(value)).hexdigest()]
    if isinstance(value, Mapping):
        return {str(name): described(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, partial):
        return [described(value.func), described(value.args), described(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        kept = [field.name for field in fields(value) if field.compare]
        return [_name(type(value)), {name: described(getattr(value, name)) for name in kept}]
    return _name(value if hasattr(value, "__qualname__") else type(value))


def identity(**parts: Any) -> str:
    """The fingerprint of everything given."""
    return fingerprint(described(parts))


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
