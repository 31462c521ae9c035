"""Accuracy without a gradient step: one unselected sample of every architecture of every split."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.universal.generators import Source
from benchmarks.universal.kept import Kept, Progress, Row, described
from benchmarks.universal.subjects import Subject, has_statistics, judged, written
from weightsmith.architectures.families import SPLITS, Split
from weightsmith.datasets import Dataset
from weightsmith.ensemble import evaluate


def measured(source: Source, kept: Kept, data: Dataset, count: int, splits: Sequence[Split] = SPLITS) -> list[Row]:
    """A row an architecture, `count` of each split; its seed is its number."""
    wanted = kept.share.of_all(itertools.product(splits, range(count)))
    progress, rows = Progress(f"accuracy of {source.name}", len(wanted)), []
    for split, index in wanted:
        subject = Subject.of(split, index, data)
        found = kept.row(partial(one, source, subject, data), part="accuracy", generator=source.mark, **subject.key())
        rows.append({"kind": "accuracy", "method": source.name, **found})
        progress.done(f"{described(rows[-1])} {found['accuracy']:.4f}")
    return rows


def one(source: Source, subject: Subject, data: Dataset) -> Row:
    """Accuracy with recalibrated statistics and, beside it, with those that the network was made with."""
    blueprint = subject.traced.blueprint
    started = time.perf_counter()
    weights = written(source.generator, subject, seed=subject.index)
    seconds = time.perf_counter() - started
    module = subject.built()
    accuracy = judged(module, weights, data).accuracy
    as_generated = evaluate(module, weights, data.test)[0].accuracy if has_statistics(module) else accuracy
    return {
        **subject.about(),
        "accuracy": accuracy,
        "accuracy_as_generated": as_generated,
        "units": blueprint.units,
        "untouched": len(blueprint.untouched),
        "tracing_seconds": subject.traced.seconds,
        "seconds": seconds,
    }


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile, interpolated linearly between order statistics: `(n - 1) share` of them lie below it."""
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))


def summaries(rows: Iterable[Row]) -> list[Row]:
    """Median, 5th percentile and minimum of every method in every split, over all (`family` null) and by family."""
    groups: dict[tuple[str, str, str | None], list[Row]] = {}
    for row in rows:
        if row["kind"] == "accuracy":
            for family in (None, row["family"]):
                groups.setdefault((row["method"], row["split"], family), []).append(row)
    return [{"kind": "summary", **_summary(key, found)} for key, found in groups.items()]


def _summary(key: tuple[str, str, str | None], rows: Sequence[Row]) -> dict[str, Any]:
    method, split, family = key
    found = [row["accuracy"] for row in rows]
    result = {"method": method, "split": split, "family": family, "networks": len(found), **spread(found)}
    as_generated = [row["accuracy_as_generated"] for row in rows if "accuracy_as_generated" in row]
    if as_generated:
        result["as_generated_median"] = statistics.median(as_generated)
        result["as_generated_p05"] = quantile(as_generated, 0.05)
    return result


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "p05": quantile(values, 0.05), "min": min(values)}
