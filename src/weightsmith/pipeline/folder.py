"""The folder of one run: what lies where, which recipe it belongs to, and what has been chosen for this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset, DatasetRequest, load_dataset
from weightsmith.environment import describe_environment
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import LEFTOVER_PREFIX, require_writable_folder, sweep_leftovers, write_bytes
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.pipeline.planning import ZooPlan, requests_of, resolve
from weightsmith.record import read_records
from weightsmith.report import report_of
from weightsmith.settings.dumping import dump_recipe, recipe_differences
from weightsmith.settings.recipe import Recipe

SCHEMA = "weightsmith.run/1"
MANIFEST = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """One run: its folder and its resolved recipe, in which every choice made by measuring stands.

    `typed_by_user`: the recipe was given by this user, who may name code in it, and not only found in the folder.
    """

    path: Path
    recipe: Recipe
    typed_by_user: bool = True

    @classmethod
    def prepare(cls, path: Path, recipe: Recipe, note: Callable[[str], None] = lambda text: None) -> RunFolder:
        """Start a run in a new or empty folder, or go on with one of the same recipe and data.

        What the recipe leaves to the machine is measured when a run starts; `note` is told what was found.
        Raises `BadInput` naming the differing fields, or when the folder holds something else.
        """
        path = Path(path)
        if (path / MANIFEST).exists():
            return cls._resumed(path, recipe)
        if path.is_dir() and any(not entry.name.startswith(LEFTOVER_PREFIX) for entry in path.iterdir()):
            raise BadInput(f"{path} is not a weightsmith run and not empty", "choose another folder with --out")
        datasets = list(ZooPlan(recipe, typed_by_user=True).datasets.values())  # no data, no run, and no folder
        require_writable_folder(path)
        resolved = resolve(recipe, note)
        sweep_leftovers(path)
        document = {
            "schema": SCHEMA,
            "asked": recipe.model_dump(mode="json"),
            "resolved": resolved.model_dump(mode="json"),
            "dataset": datasets[0].fingerprint,
            "varied datasets": [dataset.fingerprint for dataset in datasets[1:]],
        }
        write_sealed_json(path / MANIFEST, document)  # first: with it, a run that is killed here can be resumed
        run = cls(path, resolved)
        run._write_companions()
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run. Raises `ArtifactError` when the folder is none, or is damaged."""
        path = Path(path)
        document = cls._manifest(path)
        return cls(path, Recipe.model_validate(document["resolved"]), typed_by_user=False)

    @classmethod
    def _resumed(cls, path: Path, recipe: Recipe) -> RunFolder:
        asked = Recipe.model_validate(cls._manifest(path)["asked"])
        differences = recipe_differences(asked, _with_workers(recipe, asked))
        if differences:
            listed = "\n    ".join(differences)
            raise BadInput(
                f"{path} holds a run of another recipe:\n    {listed}",
                "choose another folder with --out, or give the same recipe to resume",
            )
        run = cls.open(path)
        resolved = _with_workers(run.recipe, recipe) if recipe.universal.workers else run.recipe
        run = cls(path, resolved, typed_by_user=True)
        require_writable_folder(path)
        run.require_same_data()  # changed data are refused before anything is done
        for folder in (path, run.zoo / "unfinished", run.plots, *(path / "synthesizer").glob("pipeline-*")):
            sweep_leftovers(folder)
        run._write_companions()
        return run

    def _write_companions(self) -> None:
        """What a person may want to read beside the manifest; nothing of ours reads it."""
        if not (self.path / "recipe.yaml").exists():
            write_bytes(self.path / "recipe.yaml", dump_recipe(self.recipe).encode())
        if not (self.path / "environment.json").exists():
            write_sealed_json(self.path / "environment.json", describe_environment())

    @staticmethod
    def _manifest(path: Path) -> dict[str, Any]:
        if not (path / MANIFEST).is_file():
            raise ArtifactError(f"{path} is not a run: it has no {MANIFEST}", "give a folder made by `weightsmith run`")
        document = read_sealed_json(path / MANIFEST)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            found = document.get("schema") if isinstance(document, dict) else None
            raise ArtifactError(f"{path} has schema {found!r}, not {SCHEMA!r}", "use the version that wrote it")
        return document

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data, the first of several. Raises `BadInput` when they are not what the run was made with."""
        return self._checked(requests_of(self.recipe)[0], self._manifest(self.path)["dataset"])

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The run's data sets by the names in its recipe, which are distinct where a generator is told them.

        Raises `BadInput` when any is not what the run was made with.
        """
        return {requests_of(self.recipe)[0].name: self.dataset} | {one.name: data for one, data in self._varied()}

    @property
    def architecture(self) -> Architecture:
        """The architecture that the recipe names, for the run's data."""
        wanted, shape, classes = self.recipe.architecture, self.dataset.input_shape, self.dataset.classes
        return Architecture(wanted.name, shape, classes, wanted.options, typed_by_user=self.typed_by_user)

    @property
    def plan(self) -> ZooPlan:
        """The runs of the zoo, and the groups in which they are trained."""
        return ZooPlan(self.recipe, self.typed_by_user)

    def require_same_data(self) -> None:
        """Raise `BadInput` when any of the data sets is not what the run was made with."""
        _ = self.dataset
        for _ in self._varied():
            pass

    def _varied(self) -> Iterator[tuple[DatasetRequest, Dataset]]:
        """The data sets beside the first, one at a time."""
        varied = self._manifest(self.path).get("varied datasets", [])
        for request, fingerprint in zip(requests_of(self.recipe)[1:], varied, strict=True):
            yield request, self._checked(request, fingerprint)

    def _checked(self, request: DatasetRequest, fingerprint: str) -> Dataset:
        dataset = load_dataset(request)
        if dataset.fingerprint != fingerprint:
            raise BadInput(
                f"the data set {request.name!r} is not the one that {self.path} was made with",
                "restore the data, or start a new run with --out",
            )
        return dataset

    @property
    def summary(self) -> Any:
        """The numbers of the finished evaluation, from its records: the `Summary` of the run's kind of experiment.

        Raises `BadInput` when the evaluation is not complete.
        """
        return report_of(self.recipe.generator.name).summarise(read_records(self.records))

    @property
    def zoo(self) -> Path:
        """The run's own zoo, or the one that the recipe names."""
        return self.path / "zoo" if self.recipe.zoo.folder is None else Path(self.recipe.zoo.folder)

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def records(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def synthesizer(self, pipeline: int, budget: str) -> Path:
        """Where the generator of one pipeline and training budget is kept."""
        return self.path / "synthesizer" / f"pipeline-{pipeline}" / budget

    @property
    def universal(self) -> Path:
        """Where the synthesizer of any architecture is kept."""
        return self.path / "synthesizer"

    @property
    def universal_state(self) -> Path:
        """Where its unfinished training is kept."""
        return self.path / "unfinished.safetensors"

    def training_state(self, pipeline: int) -> Path:
        """Where an unfinished training of a generator is kept."""
        return self.path / "synthesizer" / f"pipeline-{pipeline}" / "_unfinished.safetensors"  # no budget begins so


def _with_workers(recipe: Recipe, other: Recipe) -> Recipe:
    """With as many processes for a universal generator as another recipe has: no bit depends on how many there are."""
    universal = recipe.universal.model_copy(update={"workers": other.universal.workers})
    return recipe.model_copy(update={"universal": universal})
