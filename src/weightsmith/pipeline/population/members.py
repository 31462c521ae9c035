"""Members: the networks of one architecture in a zoo, of every data set that they learned, dealt by run into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput
from weightsmith.hashed import canonical_json, fingerprint
from weightsmith.layout import Weights
from weightsmith.pipeline.folder import RunFolder
from weightsmith.pipeline.population.learned import learned_datasets
from weightsmith.seeds import derive_seed
from weightsmith.settings.experiment import PARTS, parts_of, told_datasets
from weightsmith.settings.recipe import PopulationSettings
from weightsmith.zoo import Row, Zoo
from weightsmith.zoo.rows import Run
from weightsmith.zoo.splits import split_runs


@dataclass(frozen=True)
class Member:
    """What one generator learns from: networks of one architecture, by the part that their run is in.

    `parts` holds the networks that are learned or compared with; `finals` the last network of every run of a part.
    One run alone is a part `train` with nothing beside it: what is learned from it can only replay it. `learned` is the
    data set of every run, as far as it is stated; `dataset` the one that all of them learned and are told apart by.
    `identity` is of the networks of every part, those of other data sets included: what was learned from some of them
    is not measured against others.
    """

    number: int
    name: str
    architecture: Architecture
    parts: Mapping[str, Sequence[Row]]
    finals: Mapping[str, Sequence[Row]]
    learned: Mapping[Run, str | None]
    identity: str
    dataset: str | None = None

    @property
    def is_single(self) -> bool:
        """Whether there is one run to learn from, with which nothing can be compared."""
        return len(self.finals["train"]) == 1

    def require_learned(self, provenance: Mapping[str, Any], folder: Path) -> None:
        """Raise `BadInput` where a synthesizer states that it was made when the zoo held other networks."""
        if provenance.get("networks", self.identity) != self.identity:
            raise BadInput(
                f"the zoo no longer holds the networks of {self.name} that {folder} was made with",
                "restore the zoo, or start a new run with --out",
            )

    @property
    def asked(self) -> dict[str, str]:
        """What a sample that is to be like these networks must be asked to be."""
        return {} if self.dataset is None else {"dataset": self.dataset}

    def on(self, dataset: str) -> Member:
        """Those of its networks that learned one data set."""
        parts, finals = (
            {part: [row for row in rows if self.learned[row.run] == dataset] for part, rows in cut.items()}
            for cut in (self.parts, self.finals)
        )
        return replace(self, name=f"{self.name} on {dataset}", parts=parts, finals=finals, dataset=dataset)

    def shares(self, told: Sequence[str]) -> list[Member]:
        """What is measured apart: the networks of each data set that its generator is told, where these are several."""
        return [self.on(dataset) for dataset in told] if len(told) > 1 else [self]

    def read(self, zoo: Zoo, part: str, finals: bool = False) -> Weights:
        """The networks of a part, or the last of each run of it. Raises `BadInput` where there is none."""
        return zoo.read((self.finals if finals else self.parts)[part])


def members_of(run: RunFolder, zoo: Zoo) -> list[Member]:
    """The architectures of a zoo, in the order of its first runs.

    Raises `BadInput` where an architecture has too few runs to be dealt into the parts that the recipe asks for, or
    does not fit a data set that the generator is told; and for data sets that it is not told.
    """
    learned = learned_datasets(run, zoo)
    forms: dict[str, tuple[Architecture, dict[Run, list[Row]]]] = {}
    of_segment: dict[str, Architecture] = {}
    for row in zoo.rows:
        if row.segment not in of_segment:
            of_segment[row.segment] = _architecture(run, zoo, row)
        form = of_segment[row.segment]
        _, runs = forms.setdefault(canonical_json(form.to_json()), (form, {}))
        runs.setdefault(row.run, []).append(row)
    return [_member(run, i, form, runs, len(forms), learned) for i, (form, runs) in enumerate(forms.values())]


def _architecture(run: RunFolder, zoo: Zoo, row: Row) -> Architecture:
    """What the zoo says its network is, else what the recipe says; a user's own module only where the recipe does."""
    stated = zoo.provenance(row).get("architecture")
    if not isinstance(stated, dict) or "name" not in stated:
        return run.architecture
    found = Architecture.from_json(stated)
    typed = run.typed_by_user and found.name in {run.recipe.architecture.name, *_varied(run)}
    return replace(found, typed_by_user=typed)


def _varied(run: RunFolder) -> list[str]:
    return [form.name for form in run.recipe.vary.architecture or ()]


def _member(
    run: RunFolder,
    number: int,
    form: Architecture,
    runs: Mapping[Run, Sequence[Row]],
    forms: int,
    learned: Mapping[Run, str | None],
) -> Member:
    settings, told = run.recipe.population, told_datasets(run.recipe)
    name = form.name if forms == 1 else f"{form.name} {number}"
    trained = {
        run_name: sorted((row for row in rows if row.step > 0 or len(rows) == 1), key=lambda row: row.step)
        for run_name, rows in runs.items()
    }
    whole = {run_name: rows for run_name, rows in trained.items() if rows}  # not those that diverged at once
    seed = derive_seed(run.recipe.seed, "population", number)
    if len(told) > 1:
        _require_fit(run, form)
        groups = {f"{name} on {one}": [r for r in whole if learned[r] == one] for one in told}
    else:
        groups = {name: list(whole)}
    alone = all(len(group) == 1 for group in groups.values())
    each = [_dealt(group, settings, seed, title, alone) for title, group in groups.items()]
    dealt = {part: [r for one in each for r in one.get(part, ())] for part in PARTS}
    finals = {part: [whole[r][-1] for r in dealt[part]] for part in PARTS}
    every = {part: [row for r in dealt[part] for row in whole[r]] for part in PARTS}
    parts = every if settings.checkpoints == "all" else finals
    identity = fingerprint({part: [row.sha256 for row in rows] for part, rows in parts.items()})
    return Member(number, name, form, parts, finals, learned, identity)


def _require_fit(run: RunFolder, form: Architecture) -> None:
    """Refuse data sets that the networks of a zoo cannot read."""
    for name, data in run.datasets.items():
        if (tuple(form.input_shape), form.classes) != (tuple(data.input_shape), data.classes):
            raise BadInput(
                f"{form.name} of the zoo reads images {list(form.input_shape)} of {form.classes} classes, and data set "
                f"{name!r} has images {list(data.input_shape)} of {data.classes}",
                "give every data set of vary.dataset the image_size with which the zoo was built",
            )


def _dealt(
    runs: Sequence[Run], settings: PopulationSettings, seed: int, name: str, alone: bool
) -> dict[str, list[Run]]:
    """Runs by part; `alone`: there is one run, of this and of any other data set."""
    if not runs:
        raise BadInput(
            f"the zoo holds no run of {name}, which generator.options.datasets names",
            "leave that data set out of generator.options.datasets and vary.dataset, or build runs that learn it",
        )
    return split_runs(runs, parts_of(len(runs), settings, name, alone), seed)
