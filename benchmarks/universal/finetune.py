"""How much training synthesis saves: epochs to the same accuracy, from a random init and from what is written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks.universal.budget import Budget
from benchmarks.universal.generators import Source
from benchmarks.universal.kept import Kept, Progress, Row, described
from benchmarks.universal.subjects import Subject, written
from benchmarks.universal.training import LEARNING_RATE, POINTS, Point, curve
from weightsmith.datasets import Dataset
from weightsmith.ensemble import recalibrated
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

RATES = (LEARNING_RATE, 3e-4, 3e-3)
TARGETS = (1, 2, 5)  # the accuracy that is to be reached: what a random init has after so many epochs
HEADLINE_TARGET = 2
CHOICES = {"one rate": RATES[:1], "best rate": RATES}
RESOLUTION = 1 / POINTS  # epochs that count at least: one look at the validation images


class Reached(NamedTuple):
    """What random inits came to: an accuracy, and the epochs to it."""

    accuracy: float
    epochs: float


Asked = tuple[int, str, int, str]  # the number of an architecture and its family, the target, and which rates


def measured(
    source: Source, kept: Kept, data: Dataset, budget: Budget, recalled: Mapping[Asked, Reached] | None = None
) -> list[Row]:
    """Of every architecture and target a row with Adam at one rate, and one with the best rate for each side.

    `recalled`: what is known already of random inits.
    """
    wanted = kept.share.of_all(range(budget.finetuned))
    progress, rows = Progress("finetune", len(wanted)), []
    for index in wanted:
        subject = Subject.of("unseen_size", index, data)
        asked = [(index, subject.architecture.name, target, which) for target in _targets(budget) for which in CHOICES]
        known = recalled or {}
        if not all(one in known for one in asked):
            random = {rate: _random(kept, subject, data, budget, rate) for rate in RATES}
            known = {one: reached([random[rate] for rate in CHOICES[one[3]]], one[2]) for one in asked}
        enough = known[asked[-1]].accuracy
        ours = {rate: _ours(source, kept, subject, data, budget, rate, enough) for rate in RATES}
        for one in asked:
            found = compared(known[one], [ours[rate] for rate in CHOICES[one[3]]])
            rows.append({"kind": "finetune", **subject.where(), "target": one[2], "rates": one[3], **found})
        progress.done(f"{described(rows[-1])}: {rows[-1]['ratio']:.1f} at {rows[-1]['target']} epochs, best rate")
    return [*rows, *_summaries(rows)]


def reached(random: Sequence[list[Point]], target: int) -> Reached:
    """The accuracy that the best of some random curves has after `target` epochs, and where one first has it."""
    accuracy = target_accuracy(random, target)
    epochs = fewest([epochs_to(one, accuracy) for one in random])
    assert epochs is not None, "the curve that gave the accuracy reaches it"
    return Reached(accuracy, epochs)


def compared(random: Reached, ours: Sequence[list[Point]]) -> dict[str, Any]:
    """Epochs to the accuracy that random inits have reached, of either side.

    `ratio` counts at least one look's worth of epochs for ours, and is 0 where ours did not get there.
    """
    after = fewest([epochs_to(one, random.accuracy) for one in ours])
    ratio = 0.0 if after is None else random.epochs / max(after, RESOLUTION)
    start = max(one[0].accuracy for one in ours)
    told = {"accuracy": random.accuracy, "start_accuracy": start, "random_epochs": random.epochs}
    return {**told, "epochs": after, "ratio": ratio}


def epochs_to(points: Sequence[Point], accuracy: float) -> float | None:
    """Where a curve first reaches an accuracy, interpolated linearly between looks; `None` if it does not."""
    for before, after in zip([None, *points], points, strict=False):
        if after.accuracy >= accuracy:
            if before is None:
                return after.epoch
            share = (accuracy - before.accuracy) / (after.accuracy - before.accuracy)
            return before.epoch + share * (after.epoch - before.epoch)
    return None


def accuracy_at(points: Sequence[Point], epoch: float) -> float | None:
    """What a curve has at an epoch, interpolated linearly; `None` beyond its end."""
    for before, after in pairwise(points):
        if before.epoch <= epoch <= after.epoch:
            share = (epoch - before.epoch) / (after.epoch - before.epoch)
            return before.accuracy + share * (after.accuracy - before.accuracy)
    return points[0].accuracy if points[0].epoch == epoch else None


def target_accuracy(curves: Sequence[Sequence[Point]], epoch: float) -> float:
    """The best that some curves have at an epoch, of those that go so far."""
    return max(found for one in curves if (found := accuracy_at(one, epoch)) is not None)


def fewest(epochs: Sequence[float | None]) -> float | None:
    return min((one for one in epochs if one is not None), default=None)


def _targets(budget: Budget) -> list[int]:
    return [target for target in TARGETS if target <= budget.finetune_epochs]


def _epochs(budget: Budget, rate: float) -> int:
    return budget.finetune_epochs if rate == LEARNING_RATE else min(budget.rate_epochs, budget.finetune_epochs)


def _random(kept: Kept, subject: Subject, data: Dataset, budget: Budget, rate: float) -> list[Point]:
    module, epochs = subject.built(), _epochs(budget, rate)
    key = {"part": "finetune random", "rate": rate, "epochs": epochs, **subject.key()}
    return _points(kept.row(lambda: _curve(subject, Weights.of(module), data, epochs, rate, 2.0), **key))


def _ours(
    source: Source, kept: Kept, subject: Subject, data: Dataset, budget: Budget, rate: float, enough: float
) -> list[Point]:
    epochs = _epochs(budget, rate)
    key = {"part": "finetune", "generator": source.mark, "rate": rate, "epochs": epochs, **subject.key()}

    def measure() -> Row:
        weights = written(source.generator, subject, seed=subject.index)
        return _curve(subject, recalibrated(subject.built(), weights, data.train), data, epochs, rate, enough)

    return _points(kept.row(measure, **key, enough=enough))


def _curve(subject: Subject, start: Weights, data: Dataset, epochs: int, rate: float, enough: float) -> Row:
    order = derive_seed(subject.index, "finetune order")  # the same images in the same order from both starts
    points = curve(subject.built(), start, data, order, epochs, rate, enough)
    return {"points": [[point.epoch, point.accuracy] for point in points]}


def _points(row: Row) -> list[Point]:
    return [Point(*point) for point in row["points"]]


def _summaries(rows: Sequence[Row]) -> list[Row]:
    found = []
    for target, rates in dict.fromkeys((row["target"], row["rates"]) for row in rows):
        ratios = [row["ratio"] for row in rows if (row["target"], row["rates"]) == (target, rates)]
        about = {"target": target, "rates": rates, "networks": len(ratios), "median": statistics.median(ratios)}
        mean = math.exp(statistics.fmean(math.log(max(ratio, RESOLUTION)) for ratio in ratios))
        found.append({"kind": "finetune summary", **about, "geometric_mean": mean, "min": min(ratios)})
    return found
