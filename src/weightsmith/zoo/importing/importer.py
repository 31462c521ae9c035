"""Import: networks that exist become rows of a zoo, a batch at a time, surveyed before anything is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import weightsmith
from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset
from weightsmith.errors import BadInput
from weightsmith.reporter import Reporter, Silent
from weightsmith.zoo.importing.intake import Intake
from weightsmith.zoo.importing.loading import Loader
from weightsmith.zoo.importing.reporting import ImportReport
from weightsmith.zoo.importing.scoring import Scorer
from weightsmith.zoo.importing.sources import Source
from weightsmith.zoo.store import MANIFEST, Zoo


def import_zoo(
    source: Source,
    path: Path | str,
    *,
    architecture: Architecture | None = None,
    dataset: Dataset | None = None,
    evaluate: bool = False,
    skip_bad: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: Reporter | None = None,
    check: Callable[[], None] = lambda: None,
) -> ImportReport:
    """Append the networks of `source` to the zoo at `path`, which is made where there is none.

    With an `architecture` every network must fit its layout (floats are cast, and that is reported); without, each has
    the layout that its tensors show. `evaluate` measures accuracy and loss on the validation split of `dataset`.
    Interrupted or killed, the same call goes on where it stopped: what is stored is known by run, step and the hash of
    what it was read from. `check` is called between networks and may raise to stop. Raises `BadInput` before anything
    is written for what `Survey` refuses, and for a file that shows to be bad when it is read, unless `skip_bad`.
    """
    started, path, progress = time.monotonic(), Path(path), progress or Silent()
    scorer = _scorer(architecture, dataset) if evaluate else None
    facts = _facts(source, architecture, dataset) | (scorer.facts if scorer else {}) | dict(provenance or {})
    is_new = not (path / MANIFEST).exists()
    known = [] if is_new else list(Zoo.open(path).layouts.values())
    intake = Intake(architecture.layout if architecture else None, known)
    loader = Loader(source, intake, scorer, facts, skip_bad, progress, check)
    if is_new:
        loader.survey([])
        Zoo.create(path, {"made by": "weightsmith zoo import"})
    with Zoo.writer(path) as writer:
        if not is_new:
            loader.survey(writer.zoo.rows)
        loader.load(writer)
        loader.report.layouts = writer.zoo.layouts
    loader.report.seconds = time.monotonic() - started
    return loader.report


def _scorer(architecture: Architecture | None, dataset: Dataset | None) -> Scorer:
    if architecture is None or dataset is None:
        raise BadInput(
            "networks cannot be evaluated without an architecture and a data set: their tensors do not say what is "
            "computed with them",
            "name them with --architecture and --dataset",
        )
    return Scorer(architecture, dataset)


def _facts(source: Source, architecture: Architecture | None, dataset: Dataset | None) -> dict[str, Any]:
    """What all rows share, apart from what was measured and by which command."""
    facts: dict[str, Any] = {"imported": {"layout": source.kind, "folder": source.folder.resolve().name}}
    if architecture is not None:
        facts["architecture"] = architecture.to_json()
    if dataset is not None:
        facts["dataset"] = {"name": dataset.name, "fingerprint": dataset.fingerprint}
    return {**facts, "weightsmith": weightsmith.__version__}
