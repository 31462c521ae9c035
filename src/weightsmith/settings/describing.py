"""Every setting of a recipe with its default and its sentence, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from weightsmith.settings.options import OPTIONS
from weightsmith.settings.recipe import Recipe, section
from weightsmith.settings.sections import Settings


class SettingLine(NamedTuple):
    """A dotted path, its default as text, and what it means."""

    path: str
    default: str
    meaning: str


def describe_settings() -> list[SettingLine]:
    """All settings in the order of a recipe; the options of registered names under that name."""
    return list(_lines())


def _lines() -> Iterator[SettingLine]:
    for name, field in Recipe.model_fields.items():
        model = section(name)
        if model is None:
            yield _line(name, field)
            continue
        for key, inner in model.model_fields.items():
            if isinstance(inner.default, Settings):
                yield from _nested_lines(f"{name}.{key}", inner.default)
            elif key != "options":
                yield _line(f"{name}.{key}", inner)
        for registered, options in OPTIONS.get(name, {}).items():
            yield from _option_lines(f"{name}.options", registered, options)


def _nested_lines(path: str, default: Settings) -> Iterator[SettingLine]:
    """A section within a section, with the values that it has by default."""
    for key, field in type(default).model_fields.items():
        yield SettingLine(f"{path}.{key}", _as_written(getattr(default, key)), field.description or "")


def _option_lines(path: str, registered: str, options: type[BaseModel]) -> Iterator[SettingLine]:
    for key, field in options.model_fields.items():
        line = _line(f"{path}.{key}", field)
        yield line._replace(meaning=f"({registered}) {line.meaning}")


def _line(path: str, field: FieldInfo) -> SettingLine:
    default = "" if field.default is PydanticUndefined else _as_written(field.default)
    return SettingLine(path, default, field.description or "")


def _as_written(value: object) -> str:
    """A default as it would stand in a recipe."""
    return value if isinstance(value, str) else json.dumps(value)
