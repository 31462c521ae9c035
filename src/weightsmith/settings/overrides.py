"""Overrides from the command line: `section.key=value`, laid over a recipe's nodes, later ones over earlier ones.

A section given whole is laid over the recipe's section; any other value replaces what stands at its path. A
new name of a codec, generator or architecture drops the options that the file gives for the old one.
"""

from __future__ import annotations

from weightsmith.settings.nodes import (
    COMMAND_LINE,
    MAX_DEPTH,
    Mapping,
    Node,
    Path,
    Problem,
    Scalar,
    read_yaml,
)
from weightsmith.settings.recipe import section
from weightsmith.settings.sections import NamedSettings, OptionedSettings

_MAX_CHARACTERS = 100_000


def apply_override(tree: Mapping, text: str) -> list[Problem]:
    """Lay one override over `tree`, in place; what is wrong with its form is returned."""
    place, equals, value = text.partition("=")
    keys = place.strip().split(".")
    if not equals or not all(keys):
        return [Problem((), COMMAND_LINE, f"{text[:60]!r} is not section.key=value")]
    if len(keys) > MAX_DEPTH or len(text) > _MAX_CHARACTERS:
        return [Problem((), COMMAND_LINE, f"{text[:60]!r}... is too long or too deep")]
    node, problems = read_yaml(value, COMMAND_LINE)
    _set(tree, keys, node if node is not None else Scalar("", False, COMMAND_LINE))
    prefix: Path = tuple(keys)
    return [Problem((*prefix, *problem.path), COMMAND_LINE, problem.text) for problem in problems]


def _set(tree: Mapping, keys: list[str], value: Node) -> None:
    if len(keys) == 1 and section(keys[0]) is not None:
        whole = _opened(keys[0], value)
        if isinstance(whole, Mapping) and whole.entries:
            for key, inner in whole.entries.items():
                _set(tree, [keys[0], key], inner)
            return
    if len(keys) == 2 and keys[1] == "name":
        _forget_options(tree, keys[0], value)
    parent = tree
    for depth, key in enumerate(keys[:-1]):
        child: Node | None = parent.entries.get(key)
        if depth == 0 and child is not None:
            child = _opened(key, child)
        line = parent.lines.get(key, COMMAND_LINE)
        if not isinstance(child, Mapping):
            child, line = Mapping(COMMAND_LINE), COMMAND_LINE
        parent.put(key, child, line)
        parent = child
    parent.put(keys[-1], value, COMMAND_LINE)


def _opened(name: str, node: Node) -> Node:
    """A section written as its bare name, as the mapping that it stands for."""
    model = section(name)
    if not isinstance(node, Scalar) or node.is_nothing or model is None or not issubclass(model, NamedSettings):
        return node
    return Mapping(node.line, {"name": node}, {"name": node.line})


def _forget_options(tree: Mapping, name: str, value: Node) -> None:
    model, given = section(name), tree.entries.get(name)
    if model is None or not issubclass(model, OptionedSettings):
        return
    if not isinstance(given, Mapping) or not isinstance(value, Scalar):
        return
    old, options = given.entries.get("name"), given.entries.get("options")
    old_name = old.text if isinstance(old, Scalar) else model.model_fields["name"].default
    if old_name == value.text or options is None:
        return
    if not isinstance(options, Mapping):
        del given.entries["options"]
        return
    kept = {key: child for key, child in options.entries.items() if options.lines[key] == COMMAND_LINE}
    given.put("options", Mapping(options.line, kept, dict.fromkeys(kept, COMMAND_LINE)), given.lines["options"])
