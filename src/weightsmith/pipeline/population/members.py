"""Members: the networks of one architecture in a zoo, dealt by run into parts."""

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
from weightsmith.seeds import derive_seed
from weightsmith.settings.experiment import PARTS, parts_of
from weightsmith.zoo import Row, Zoo
from weightsmith.zoo.rows import Run
from weightsmith.zoo.splits import split_runs


@dataclass(frozen=True)
class Member:
    """What one generator learns from: networks of one architecture, by the part that their run is in.

    `parts` holds the networks that are learned or compared with; `finals` the last network of every run of a part.
    One run alone is a part `train` with nothing beside it: what is learned from it can only replay it.
    """

    number: int
    name: str
    architecture: Architecture
    parts: Mapping[str, Sequence[Row]]
    finals: Mapping[str, Sequence[Row]]

    @property
    def is_single(self) -> bool:
        """Whether there is one run to learn from, with which nothing can be compared."""
        return len(self.finals["train"]) == 1

    @property
    def identity(self) -> str:
        """Of the networks of every part; what was learned from some of them is not measured against others."""
        return fingerprint({part: [row.sha256 for row in rows] for part, rows in self.parts.items()})

    def require_learned(self, provenance: Mapping[str, Any], folder: Path) -> None:
        """Raise `BadInput` where a synthesizer states that it was made when the zoo held other networks."""
        if provenance.get("networks", self.identity) != self.identity:
            raise BadInput(
                f"the zoo no longer holds the networks of {self.name} that {folder} was made with",
                "restore the zoo, or start a new run with --out",
            )

    def read(self, zoo: Zoo, part: str, finals: bool = False) -> Weights:
        """The networks of a part, or the last of each run of it. Raises `BadInput` where there is none."""
        return zoo.read((self.finals if finals else self.parts)[part])


def members_of(run: RunFolder, zoo: Zoo) -> list[Member]:
    """The architectures of a zoo, in the order of its first runs.

    Raises `BadInput` where an architecture has too few runs to be dealt into the parts that the recipe asks for.
    """
    forms: dict[str, tuple[Architecture, dict[Run, list[Row]]]] = {}
    of_segment: dict[str, Architecture] = {}
    for row in zoo.rows:
        if row.segment not in of_segment:
            of_segment[row.segment] = _architecture(run, zoo, row)
        form = of_segment[row.segment]
        _, runs = forms.setdefault(canonical_json(form.to_json()), (form, {}))
        runs.setdefault(row.run, []).append(row)
    return [_member(run, i, form, runs, len(forms)) for i, (form, runs) in enumerate(forms.values())]


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


def _member(run: RunFolder, number: int, form: Architecture, runs: Mapping[Run, Sequence[Row]], forms: int) -> Member:
    settings = run.recipe.population
    name = form.name if forms == 1 else f"{form.name} {number}"
    trained = {
        run_name: sorted((row for row in rows if row.step > 0 or len(rows) == 1), key=lambda row: row.step)
        for run_name, rows in runs.items()
    }
    whole = {run_name: rows for run_name, rows in trained.items() if rows}  # not those that diverged at once
    parts = parts_of(len(whole), settings, name)
    dealt = split_runs(list(whole), parts, derive_seed(run.recipe.seed, "population", number))
    finals = {part: [whole[r][-1] for r in dealt.get(part, ())] for part in PARTS}
    every = {part: [row for r in dealt.get(part, ()) for row in whole[r]] for part in PARTS}
    return Member(number, name, form, every if settings.checkpoints == "all" else finals, finals)
