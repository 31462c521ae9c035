"""The folder of one run: what lies where, which recipe it belongs to, and what has been chosen for this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from weightsmith.datasets import Dataset, DatasetRequest, load_dataset
from weightsmith.engines.local import share_cores, usable_cores
from weightsmith.ensemble import choose_device, choose_precision
from weightsmith.environment import describe_environment
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import LEFTOVER_PREFIX, require_writable_folder, sweep_leftovers, write_bytes
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.record import read_records
from weightsmith.report import Summary, summarise
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
    def prepare(cls, path: Path, recipe: Recipe) -> RunFolder:
        """Start a run in a new or empty folder, or go on with one of the same recipe and data.

        Raises `BadInput` naming the differing fields, or when the folder holds something else.
        """
        path = Path(path)
        if (path / MANIFEST).exists():
            return cls._resumed(path, recipe)
        if path.is_dir() and any(not entry.name.startswith(LEFTOVER_PREFIX) for entry in path.iterdir()):
            raise BadInput(f"{path} is not a weightsmith run and not empty", "choose another folder with --out")
        dataset = load_dataset(request_of(recipe))  # before the folder is made: no data, no run
        require_writable_folder(path)
        resolved = _resolve(recipe)
        sweep_leftovers(path)
        document = {
            "schema": SCHEMA,
            "asked": recipe.model_dump(mode="json"),
            "resolved": resolved.model_dump(mode="json"),
            "dataset": dataset.fingerprint,
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
        differences = recipe_differences(asked, recipe)
        if differences:
            listed = "\n    ".join(differences)
            raise BadInput(
                f"{path} holds a run of another recipe:\n    {listed}",
                "choose another folder with --out, or give the same recipe to resume",
            )
        run = replace(cls.open(path), typed_by_user=True)
        require_writable_folder(path)
        _ = run.dataset  # changed data are refused before anything is done
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
        """The run's data. Raises `BadInput` when they are not what the run was made with."""
        dataset = load_dataset(request_of(self.recipe))
        if dataset.fingerprint != self._manifest(self.path)["dataset"]:
            raise BadInput(
                f"the data set {self.recipe.dataset.name!r} is not the one that {self.path} was made with",
                "restore the data, or start a new run with --out",
            )
        return dataset

    @property
    def summary(self) -> Summary:
        """The numbers of the finished evaluation, from its records. Raises `BadInput` when it is not complete."""
        return summarise(read_records(self.records))

    @property
    def zoo(self) -> Path:
        return self.path / "zoo"

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

    def training_state(self, pipeline: int) -> Path:
        """Where an unfinished training of a generator is kept."""
        return self.path / "synthesizer" / f"pipeline-{pipeline}" / "_unfinished.safetensors"  # no budget begins so


def request_of(recipe: Recipe) -> DatasetRequest:
    """What to load for a recipe; two equal requests load once."""
    wanted = recipe.dataset
    return DatasetRequest(wanted.name, wanted.validation, recipe.seed, wanted.image_size)


def _resolve(recipe: Recipe) -> Recipe:
    """Write down what `auto` means here, so that a resumed run computes as the first did."""
    device = choose_device(recipe.device)
    workers, threads = share_cores(recipe.zoo.runs, usable_cores())
    if device.type != "cpu":
        workers, threads = 1, usable_cores()
    if recipe.zoo.workers:
        workers, threads = recipe.zoo.workers, max(1, usable_cores() // recipe.zoo.workers)
    zoo = {
        "workers": workers,
        "threads": recipe.zoo.threads or threads,
        "precision": choose_precision(recipe.zoo.precision, device),
    }
    evaluation = {"precision": choose_precision(recipe.evaluation.precision, device)}
    return recipe.model_copy(
        update={
            "device": device.type,
            "zoo": recipe.zoo.model_copy(update=zoo),
            "evaluation": recipe.evaluation.model_copy(update=evaluation),
        }
    )
