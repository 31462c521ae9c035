"""Which data set every run of a zoo learned, in the words of the recipe, for generators that are told it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.pipeline.folder import RunFolder
from weightsmith.settings.experiment import told_datasets
from weightsmith.zoo import Row, Zoo
from weightsmith.zoo.rows import Run


def learned_datasets(run: RunFolder, zoo: Zoo) -> dict[Run, str | None]:
    """The data set of every run, or None where the zoo does not state it.

    Raises `BadInput` where runs learned several data sets, or others than those that the recipe's generator is told.
    """
    told = told_datasets(run.recipe)
    stated = {segment: zoo.provenance(row).get("dataset") for segment, row in {r.segment: r for r in zoo.rows}.items()}
    learned = {row.run: _name(run, row, stated[row.segment], told) for row in zoo.rows}
    names = list(dict.fromkeys(name for name in learned.values() if name is not None))
    listed = ", ".join(names)
    if not told and len(names) > 1:
        raise BadInput(
            f"the networks of {zoo.path} learned several data sets ({listed}), which the generator is not told apart",
            f"name them, generator.options.datasets=[{listed}] and vary.dataset=[{listed}]",
        )
    unnamed = [name for name in names if told and name not in told]
    if unnamed:
        raise BadInput(
            f"{zoo.path} holds networks of data set {unnamed[0]!r}, which generator.options.datasets does not name",
            f"name it there and in vary.dataset; the zoo holds {listed}",
        )
    silent = [name for name, dataset in learned.items() if dataset is None]
    if len(told) > 1 and silent:
        raise BadInput(
            f"run {silent[0]!r} of {zoo.path} does not state which data set it learned",
            "import each data set's networks with --dataset, or learn from one data set alone",
        )
    return learned


def _name(run: RunFolder, row: Row, stated: Any, told: list[str]) -> str | None:
    """What the row says, or else its segment, whose fingerprint tells which of the recipe's data sets is meant."""
    said = row.extra.get("dataset")
    if isinstance(stated, Mapping):
        mark = stated.get("fingerprint") if told and said not in told else None
        same = next((name for name in told if mark is not None and run.datasets[name].fingerprint == mark), None)
        found = same or said or stated.get("name")
    else:
        found = said or stated
    return found if isinstance(found, str) and found else None
