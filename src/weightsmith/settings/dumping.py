"""Write a recipe as YAML that loads back to an equal one, and say in what two recipes differ."""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from weightsmith.settings.recipe import Recipe

_HEADER = "# A recipe with every setting written out. `weightsmith run` on this file does the same again.\n"
_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,}")
_NOT_WORDS = ("true", "false", "null", "yes", "off", "nan", "inf")


class _Representer(SafeRepresenter):
    """Numbers and text spelled so that no reader can take one for the other."""


def _represent_text(representer: SafeRepresenter, value: str) -> ScalarNode:
    style = None if _PLAIN_WORD.fullmatch(value) and value.lower() not in _NOT_WORDS else '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _represent_number(representer: SafeRepresenter, value: float) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:float", repr(value))


_Representer.add_representer(str, _represent_text)
_Representer.add_representer(float, _represent_number)


def dump_recipe(recipe: Recipe) -> str:
    """YAML text with every setting; `parse_recipe` of it gives an equal recipe."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(recipe.model_dump(), stream)
    return _HEADER + stream.getvalue()


def recipe_differences(old: Recipe, new: Recipe) -> list[str]:
    """Every setting that differs, as `zoo.runs: 3 -> 5`; empty for equal recipes."""
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    paths = [*before, *(path for path in after if path not in before)]
    return [
        f"{path}: {_shown(before, path)} -> {_shown(after, path)}"
        for path in paths
        if path not in before or path not in after or before[path] != after[path]
    ]


def _shown(values: dict[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else "(not set)"


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; empty mappings are kept as values."""
    result: dict[str, Any] = {}
    for key, child in value.items():
        nested = isinstance(child, dict) and bool(child)
        result.update(_flat(child, f"{prefix}{key}.") if nested else {f"{prefix}{key}": child})
    return result
