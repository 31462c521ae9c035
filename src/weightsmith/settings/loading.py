"""Read a recipe, shipped or your own, with overrides; every mistake is reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from weightsmith.errors import RecipeError
from weightsmith.settings.nodes import Mapping, Node, Problem, Scalar, plain, read_yaml
from weightsmith.settings.overrides import apply_override
from weightsmith.settings.problems import problems_of, recipe_error
from weightsmith.settings.recipe import Recipe
from weightsmith.settings.registry import nearest

MAX_BYTES = 1_000_000
_SUFFIXES = (".yaml", ".yml")


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name or a .yaml file, with `section.key=value` overrides, later ones winning.

    Raises `RecipeError` listing every mistake with its dotted path and its line.
    """
    return parse_recipe(_read(source), source, overrides)


def parse_recipe(text: str, source: str | None = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that `text` holds; `source` names it in errors, `None` where all was typed.

    Raises `RecipeError` as `load_recipe` does.
    """
    node, problems = read_yaml(text)
    tree = _require_mapping(node, problems)
    for override in overrides:
        problems += apply_override(tree, override)
    if not isinstance(node, Mapping):
        raise recipe_error(source, problems)
    try:
        recipe = Recipe.model_validate(plain(tree))
    except ValidationError as error:
        raise recipe_error(source, problems + problems_of(error, tree)) from None
    if problems:
        raise recipe_error(source, problems)
    return recipe


def list_recipes() -> list[tuple[str, str]]:
    """The name and description of every shipped recipe, by name."""
    return [(recipe.name, recipe.description) for recipe in map(load_recipe, shipped_names())]


def shipped_names() -> list[str]:
    """The names of the shipped recipes."""
    folder = resources.files("weightsmith.recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _require_mapping(node: Node | None, problems: list[Problem]) -> Mapping:
    """The recipe's mapping; where it is none, the problem is added and an empty one stands in."""
    if isinstance(node, Mapping):
        return node
    if not problems:
        empty = node is None or (isinstance(node, Scalar) and node.is_nothing)
        found = "the file is empty" if empty else "the file is not a mapping of keys to values"
        problems.append(Problem((), 1 if node is None else node.line, f"{found}; begin with `name: ...`"))
    return Mapping(1)


def _read(source: str) -> str:
    if not source.endswith(_SUFFIXES) and "/" not in source and "\\" not in source:
        return recipe_text(source)
    data = _read_file(Path(source).expanduser(), source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise recipe_error(source, [Problem((), line, "not UTF-8 text; save the file as UTF-8")]) from None


def recipe_text(name: str) -> str:
    """The YAML of a shipped recipe, comments and all. Raises `RecipeError` for an unknown name."""
    names = shipped_names()
    if name not in names:
        near = nearest(name, names)
        hint = f"did you mean {near!r}? " if near else ""
        raise RecipeError(
            f"there is no shipped recipe {name[:100]!r}",
            f"{hint}The shipped ones are {', '.join(names)}; a file of your own is given as a path ending in .yaml",
        )
    return (resources.files("weightsmith.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def _read_file(path: Path, source: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"; the shipped recipe is {path.stem!r}, without .yaml" if path.stem in shipped_names() else ""
        raise RecipeError(f"cannot read recipe {source!r}: {reason}", f"check the path{hint}") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"recipe {source!r} is larger than {MAX_BYTES} bytes", "give a recipe, a page of YAML")
    return data
