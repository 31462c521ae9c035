"""The state of a training as a file: groups of tensors, and a document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from weightsmith.errors import ArtifactError
from weightsmith.tensorfile import read_state, write_state
from weightsmith.training.best import BestSoFar

Groups = Mapping[str, Mapping[str, Tensor]]


def write_training_state(path: Path, plan: str, groups: Groups, document: Mapping[str, Any]) -> None:
    """Write tensors `{group: {name: tensor}}` and a JSON document of the training that `plan` identifies."""
    tensors = {f"{group}.{name}": value for group, named in groups.items() for name, value in named.items()}
    write_state(path, tensors, {"plan": plan, **document})


def read_training_state(path: Path, plan: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `write_training_state` wrote. Raises `ArtifactError` for damage, and for another plan."""
    tensors, document = read_state(path)
    if not isinstance(document, dict) or document.pop("plan", None) != plan:
        raise ArtifactError(f"{path} is the state of another training", "delete it to start again")
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = value
    return groups, document


def best_document(best: BestSoFar) -> dict[str, Any]:
    """As JSON: what is infinite is null."""
    return {name: None if math.isinf(value) else value for name, value in asdict(best).items()}


def best_of(document: Mapping[str, Any]) -> BestSoFar:
    """The inverse of `best_document`."""
    values: dict[str, Any] = {name: math.inf if value is None else value for name, value in document.items()}
    return BestSoFar(**values)
