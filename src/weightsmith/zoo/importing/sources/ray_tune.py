"""The folders that Ray Tune leaves, as the "model zoos" of Schürholt et al. (2022) are published.

A folder a model (a trial) holds `params.json`, its settings; `result.json`, one JSON object a line for each
`training_iteration` (see `ray_results`); and folders `checkpoint_000005` (once `checkpoint_5`), in each of which a
PyTorch state dict lies in a file `checkpoints` without a suffix, beside an `optimizer`. `params.pkl` and
`.tune_metadata` are pickles: they, and the optimizer, are never opened.

Schürholt, Taskiran, Knyazev, Giró-i-Nieto, Borth: "Model Zoos: A Dataset of Diverse Populations of Neural Network
Models", NeurIPS 2022; file names and keys as written by its code, github.com/ModelZoos/ModelZooDataset
(`code/model_definitions/def_NN_experiment.py`, `code/checkpoints_to_datasets/dataset_base.py`), and by Ray Tune.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsmith.checkpoint import SUFFIXES, Kind
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.zoo.importing.sources.candidate import Candidate, FileCandidate, Reading, Source, Unusable
from weightsmith.zoo.importing.sources.folder import Listing, inside, link_error, walk
from weightsmith.zoo.importing.sources.ray_results import Matched, match_results, read_results, read_settings
from weightsmith.zoo.rows import RowInfo

PARAMS, RESULTS, STATE = "params.json", "result.json", "checkpoints"
UNMATCHED = "unmatched"
_MARKS = (".is_checkpoint", ".tune_metadata")
_CHECKPOINT = re.compile(r"checkpoint_([0-9]{1,12})")


@dataclass(frozen=True)
class Trial:
    """One model's folder, and the numbers of its checkpoints by the names of their folders."""

    path: str
    checkpoints: Mapping[str, int]


def trials(folder: Path, exclude: Path | None = None, listing: Listing | None = None) -> Iterator[Trial]:
    """The trials in `folder`, in the order of their names."""
    for place, directories, files in walk(folder, exclude, Listing() if listing is None else listing):
        numbers = {name: int(found[1]) for name in directories if (found := _CHECKPOINT.fullmatch(name))}
        if numbers and (PARAMS in files or RESULTS in files):
            directories.clear()
            path = place.relative_to(folder).as_posix()
            yield Trial(path, dict(sorted(numbers.items(), key=lambda item: item[1])))


def tuned_models(folder: Path, reading: Reading, exclude: Path | None) -> Source:
    """Every checkpoint of every trial: the run is the trial's path. Raises `BadInput` where there is none."""
    listing = Listing()
    found = list(trials(folder, exclude, listing))
    if not found:
        raise BadInput(
            f"{folder} holds no folder with {PARAMS} or {RESULTS} and checkpoint_... folders",
            "give the folder above those of the models, or another --layout",
        )

    def candidates() -> Iterator[Candidate | Unusable]:
        yield from (Unusable(name, link_error(folder, name)) for name in listing.escaping)
        for trial in found:
            yield from _of_trial(folder, trial, reading)

    count = len(listing.escaping) + sum(len(trial.checkpoints) for trial in found)
    return Source("ray-tune", folder, count, candidates, listing.notes())


def _of_trial(folder: Path, trial: Trial, reading: Reading) -> Iterator[Candidate | Unusable]:
    try:
        results = read_results(inside(folder, f"{trial.path}/{RESULTS}"))
        settings = read_settings(inside(folder, f"{trial.path}/{PARAMS}"), results)
        marked = any((folder / trial.path / name / mark).exists() for name in trial.checkpoints for mark in _MARKS)
        matched = match_results(results, trial.checkpoints, marked)
    except BadInput as error:
        yield from (Unusable(f"{trial.path}/{name}", error) for name in trial.checkpoints)
        return
    for name in trial.checkpoints:
        place = f"{trial.path}/{name}"
        try:
            file, kind = _state_file(folder, place)
            info = _row(trial.path, settings, matched[name])
            yield FileCandidate(file, inside(folder, file), info, reading, kind)
        except BadInput as error:
            yield Unusable(place, error)


def _row(run: str, settings: Mapping[str, Any], found: Matched) -> RowInfo:
    seed = settings.get("seed")
    unmatched = {} if found.metrics is not None else {UNMATCHED: f"{RESULTS} does not say which line is about it"}
    seed = seed if type(seed) is int and 0 <= seed < 2**63 else 0
    return RowInfo(run, found.step, seed, found.metrics or {}, {**settings, **unmatched})


def _state_file(folder: Path, place: str) -> tuple[str, Kind | None]:
    """The file of a checkpoint's folder that holds its weights, and what it is where its name does not tell."""
    directory = inside(folder, place)
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise ArtifactError(f"cannot read {directory}: {error.strerror}", "check its permissions") from None
    if STATE in names:
        return f"{place}/{STATE}", "torch"
    known = sorted(name for name in names if name.endswith(SUFFIXES))
    if len(known) != 1:
        raise ArtifactError(
            f"{directory} holds no file {STATE!r} and {len(known)} files that end in {', '.join(SUFFIXES)}",
            "leave one such file in it",
        )
    return f"{place}/{known[0]}", None
