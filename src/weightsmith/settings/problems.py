"""Mistakes in a recipe, each with its dotted path, its line, what was found, what is expected and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from weightsmith.errors import RecipeError
from weightsmith.settings.nodes import COMMAND_LINE, Mapping, Node, Path, Problem, Refused, Scalar
from weightsmith.settings.nodes import Sequence as NodeSequence
from weightsmith.settings.options import OPTIONS
from weightsmith.settings.recipe import Recipe, section
from weightsmith.settings.registry import nearest
from weightsmith.settings.sections import OptionedSettings, Settings

_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_unicode": "text of whole characters",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "list_type": "a list",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "at least this long:"}
_LONGEST = 60


def recipe_error(source: str | None, problems: Iterable[Problem]) -> RecipeError:
    """One error that lists every problem: the file's by line, then the command line's. No source: all was typed."""
    ordered = sorted(problems, key=lambda problem: (problem.line == COMMAND_LINE, problem.line))
    count = "1 mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
    whole = "what was typed" if source is None else f"recipe {source!r}"
    lines = [f"{whole} holds {count}:", *(f"  {_describe(problem)}" for problem in ordered)]
    return RecipeError("\n".join(lines), "correct what is listed and run the same command again")


def problems_of(error: ValidationError, tree: Mapping) -> list[Problem]:
    """What pydantic found wrong with the plain data of `tree`, without what lies under a place already refused."""
    problems = []
    for details in error.errors(include_url=False):
        path = _written_path(tree, tuple(part for part in details["loc"] if part != "[key]"))
        node, line = _find(tree, path)
        if not isinstance(node, Refused):
            problems.append(Problem(path, line, _text(details, path, tree, node)))
    return problems


def _written_path(tree: Mapping, path: Path) -> Path:
    """The path as it was written: a list of values stands for a spread with these `choices`."""
    if "choices" in path:
        before = path[: path.index("choices")]
        if isinstance(_find(tree, before)[0], NodeSequence):
            return before + path[len(before) + 1 :]
    return path


def dotted(path: Path) -> str:
    """`("a", "b", 2)` as `a.b[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in path)
    return text.removeprefix(".")


def _describe(problem: Problem) -> str:
    place = "command line" if problem.line == COMMAND_LINE else f"line {problem.line}"
    return f"{dotted(problem.path)} ({place}): {problem.text}" if problem.path else f"{place}: {problem.text}"


def _find(tree: Mapping, path: Sequence[str | int]) -> tuple[Node | None, int]:
    """The node at `path` (None where there is none) and the line of the nearest thing above it that has one."""
    node: Node | None = tree
    line = tree.line
    for part in path:
        if isinstance(node, Mapping) and part in node.entries:
            line = node.lines[str(part)]
            node = node.entries[str(part)]
        elif isinstance(node, NodeSequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            line = node.line
        elif isinstance(node, Refused) or (isinstance(node, Scalar) and part == "name"):
            return node, line
        else:
            return None, line
    return node, line


def _text(details: ErrorDetails, path: Path, tree: Mapping, node: Node | None) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), _known_keys(path[:-1], tree))
    if kind == "missing":
        return "is missing; write it into the recipe"
    return f"found {_found(node, details['input'])}, {_expected(kind, context, details, node)}"


def _expected(kind: str, context: dict[str, Any], details: ErrorDetails, node: Node | None) -> str:
    if kind == "recipe_value":
        return details["msg"]
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        near = nearest(node.text if isinstance(node, Scalar) else str(details["input"]), names)
        return f"expected {', '.join(names)}" + (f"; the nearest is {near!r}" if near else "")
    if kind == "string_pattern_mismatch":
        return "expected letters, digits, dots, dashes and underscores, a letter or digit first"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"expected {words} {context[bound]}"
    return f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else details["msg"]


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = nearest(key, known)
    if near:
        return f"unknown key; the nearest is {near!r}"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key; nothing can be set here"


def _known_keys(path: Path, tree: Mapping) -> list[str]:
    if not path:
        return list(Recipe.model_fields)
    model = section(str(path[0]))
    if model is None:
        return []
    if len(path) == 1:
        return list(model.model_fields)
    inner = model.model_fields[str(path[1])].annotation if path[1] in model.model_fields else None
    if isinstance(inner, type) and issubclass(inner, Settings):
        return list(inner.model_fields)
    if not issubclass(model, OptionedSettings):
        return []
    node, _ = _find(tree, (path[0], "name"))
    name = node.text if isinstance(node, Scalar) else model.model_fields["name"].default
    return list(OPTIONS[model.kind][name].model_fields) if name in OPTIONS[model.kind] else []


def _found(node: Node | None, value: Any) -> str:
    if isinstance(node, Mapping):
        return "a mapping" if node.entries else "an empty mapping"
    if isinstance(node, NodeSequence):
        return "a list"
    if not isinstance(node, Scalar):
        return _printable(repr(value))
    if node.quoted:
        return _printable(repr(node.text))
    return _printable(node.text) if node.text else "nothing"


def _printable(text: str) -> str:
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
