"""Whether samples differ: overlap of the errors of two samples of one architecture, beside two trained networks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.universal.budget import Budget
from benchmarks.universal.generators import Source
from benchmarks.universal.kept import Kept, Progress, Row, described
from benchmarks.universal.subjects import Subject, judged, written
from benchmarks.universal.training import converged
from weightsmith.datasets import Dataset
from weightsmith.evaluation.overlap import error_overlap
from weightsmith.seeds import derive_seed


def measured(
    source: Source, kept: Kept, trained: Kept, data: Dataset, budget: Budget, work: Path,
    recalled: Mapping[int, Row] | None = None,
) -> list[Row]:  # fmt: skip
    """A row an architecture of `unseen_size`; `trained` keeps the networks that other parts train, too.

    `recalled`: what is known already of trained ones, by the number of the architecture.
    """
    wanted = kept.share.of_all(range(budget.overlapping))
    progress, rows = Progress("overlap", len(wanted)), []
    for index in wanted:
        subject = Subject.of("unseen_size", index, data)
        key = {"part": "overlap", "generator": source.mark, **subject.key()}
        ours = kept.row(lambda subject=subject: sampled(source, subject, data), **key)
        independent = (recalled or {}).get(index)
        if independent is None or independent["family"] != subject.architecture.name:
            independent = _independent(trained, subject, data, budget, work)
        rows.append({"kind": "overlap", **subject.where(), **ours, **independent})
        progress.done(f"{described(rows[-1])} {ours['overlap']:.3f}, {independent['independent_overlap']:.3f}")
    return rows


def _independent(trained: Kept, subject: Subject, data: Dataset, budget: Budget, work: Path) -> Row:
    pair = [converged(trained, subject, data, budget, seed, work) for seed in (0, 1)]
    return {
        "independent_overlap": overlap(*(_mask(one["wrong"], len(data.test)) for one in pair)),
        "independent_accuracies": [one["accuracy"] for one in pair],
    }


def sampled(source: Source, subject: Subject, data: Dataset) -> Row:
    """Two samples, unselected: their accuracies, the overlap of their errors, and the cosine of their weights."""
    seeds = (subject.index, derive_seed(subject.index, "second sample"))
    networks = [written(source.generator, subject, seed) for seed in seeds]
    found = [judged(subject.built(), weights, data) for weights in networks]
    masks = [one.predictions != one.labels for one in found]
    first, second = (weights.vectors[0].double() for weights in networks)
    cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    return {"overlap": overlap(*masks), "accuracies": [one.accuracy for one in found], "cosine": cosine}


def overlap(one: Tensor, other: Tensor) -> float:
    """Intersection over union of what two networks get wrong."""
    return float(error_overlap(one[None], other[None]))


def medians(rows: list[Row]) -> dict[str, float]:
    found = [row for row in rows if row["kind"] == "overlap"]
    names = {"error_overlap": "overlap", "independent_error_overlap": "independent_overlap"}
    return {name: statistics.median(row[key] for row in found) for name, key in names.items()}


def _mask(numbers: list[int], count: int) -> Tensor:
    mask = torch.zeros(count, dtype=torch.bool)
    mask[numbers] = True
    return mask
