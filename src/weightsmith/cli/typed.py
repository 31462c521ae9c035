"""What is typed of an architecture and a data set, read as in a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsmith.errors import BadInput

if TYPE_CHECKING:
    from weightsmith.settings.recipe import Recipe


def read_typed(architecture: str | None, options: Sequence[str], dataset: str | None) -> Recipe | None:
    """What was typed, checked as in a recipe; nothing where nothing was. Raises `BadInput`."""
    if architecture is None and options:
        raise BadInput(f"--option {options[0]} is given without --architecture", "name the architecture that it is of")
    if architecture is None and dataset is None:
        return None
    from weightsmith.settings.loading import parse_recipe

    given = [] if architecture is None else [f"architecture.name={architecture}"]
    given += [f"architecture.options.{text}" for text in options]
    given += [] if dataset is None else [f"dataset.name={dataset}"]
    return parse_recipe("name: import\ndescription: What is typed.\n", None, given)
