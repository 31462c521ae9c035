"""From records to the numbers that are shown: means and spreads over inits and pipelines."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.record import Record
from weightsmith.report.trajectory import published

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Summary:
    """One row a generative step and budget, one a baseline, one an original epoch; and what they were measured on.

    `steps`: `accuracy_mean`, `accuracy_std` and so on are over all inits of all pipelines, `accuracy_std_pipelines`
    over the pipelines' means; `at_checkpoint` is the share of networks at step k whose nearest checkpoint is epoch k's.
    Dependences are means over pipelines. Accuracies are fractions, losses nats an image, distances relative.
    """

    steps: Rows
    baselines: Rows
    originals: Rows
    training: Rows
    independent: Mapping[str, Any]
    measured_on: Mapping[str, Any]
    inits: int
    pipelines: int
    parameters: int
    model: Mapping[str, Any]

    @property
    def projects(self) -> bool:
        """Whether the codec keeps only what lies in the span of the training checkpoints, and drops the rest."""
        return str(self.model["exactness"]).startswith("on its training checkpoints")

    @property
    def untrained(self) -> str | None:
        """The budget that was given no update at all, if there is one."""
        return next((row["budget"] for row in self.training if row["updates"] == 0), None)

    @property
    def comparable_to_note(self) -> bool:
        """Whether the note's published figures are of the same data and network."""
        return published.applies_to(str(self.measured_on["dataset"]), self.parameters)

    def step(self, budget: str, step: int) -> dict[str, Any] | None:
        """The row of one budget and step; step 0 is that of the unseen inits, common to all budgets."""
        wanted = (None, 0) if step == 0 else (budget, step)
        return next((row for row in self.steps if (row["budget"], row["step"]) == wanted), None)

    @property
    def budgets(self) -> list[str]:
        """The training budgets, the shortest first."""
        return [row["budget"] for row in sorted(self.training, key=lambda row: row["updates"])]

    @property
    def last_step(self) -> int:
        return max(row["step"] for row in self.steps)

    def rows(self) -> Rows:
        """Everything as one list, for `--json`."""
        kinds = {"generated": self.steps, "baseline": self.baselines, "original": self.originals}
        rows = [{"row": kind, **row} for kind, group in kinds.items() for row in group]
        rows += [{"row": "training", **row} for row in self.training]
        return [*rows, {"row": "independent networks", **self.independent}]


def summarise(records: Sequence[Record]) -> Summary:
    """Group and average records. Raises `BadInput` when there are no generated networks among them."""
    by_kind: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_kind[record.kind].append(record)
    generated = by_kind["init"] + by_kind["generated"]
    if not all(by_kind[kind] for kind in ("generated", "independent", "baseline", "training", "histograms")):
        raise BadInput("the records hold no complete evaluation", "run `weightsmith evaluate RUN` to its end first")
    dependence = _grouped(by_kind["dependence"], lambda r: (r.subject["budget"], r.subject["step"]))
    steps = []
    for (budget, step), group in _grouped(generated, lambda r: (r.subject["budget"], r.subject["step"])).items():
        row = {"budget": budget, "step": step, "networks": len(group), **_statistics(group)}
        row["at_checkpoint"] = _share(r.metrics["nearest_checkpoint_step"] == step for r in group)
        for metric in ("init_dependence", "function_dependence"):
            row[metric] = _mean(r.metrics[metric] for r in dependence[budget, step])
        steps.append(row)
    return Summary(
        steps=steps,
        baselines=[
            {"name": name, "note": group[0].details["note"], **_statistics(group)}
            for name, group in _grouped(by_kind["baseline"], lambda r: r.subject["name"]).items()
        ],
        originals=[
            {"step": step, **_statistics(group)}
            for step, group in sorted(_grouped(by_kind["original"], lambda r: r.subject["step"]).items())
        ],
        training=[
            {"budget": budget, **_means(group)}
            for budget, group in _grouped(by_kind["training"], lambda r: r.subject["budget"]).items()
        ],
        independent={**by_kind["independent"][0].subject, **by_kind["independent"][0].metrics},
        measured_on=by_kind["generated"][0].measured_on,
        inits=len({r.subject["init"] for r in by_kind["generated"]}),
        pipelines=len({r.subject["pipeline"] for r in by_kind["generated"]}),
        parameters=by_kind["independent"][0].details["parameters"],
        model={key: by_kind["training"][0].details[key] for key in ("codec", "exactness", "generator", "token_dim")},
    )


def _grouped(records: Iterable[Record], key: Callable[[Record], Hashable]) -> dict[Any, list[Record]]:
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return groups


def _statistics(group: Sequence[Record]) -> dict[str, float | None]:
    """Mean, standard deviation (over all networks) and least of accuracy and loss; means of the rest.

    Networks whose outputs are not finite have no accuracy: they are left out of the means and counted.
    """
    result: dict[str, float | None] = {}
    for metric in ("accuracy", "loss", "note_loss"):
        values = [float(value) for r in group if (value := r.metrics[metric]) is not None]
        result[f"{metric}_mean"] = statistics.fmean(values) if values else None
        result[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else None
    measured = [float(value) for r in group if (value := r.metrics["accuracy"]) is not None]
    result["accuracy_min"] = min(measured, default=None)
    result["not_finite"] = len(group) - len(measured)
    means = [statistics.fmean(values) for values in _accuracies_by_pipeline(group) if values]
    result["accuracy_std_pipelines"] = statistics.stdev(means) if len(means) > 1 else None
    others = {name for r in group for name in r.metrics} - {"accuracy", "loss", "note_loss", "nearest_checkpoint_step"}
    return result | {name: _mean(r.metrics.get(name) for r in group) for name in sorted(others)}


def _means(group: Sequence[Record]) -> dict[str, float | None]:
    return {name: _mean(r.metrics[name] for r in group) for name in group[0].metrics}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _accuracies_by_pipeline(group: Sequence[Record]) -> list[list[float]]:
    """Accuracies of the networks of each pipeline or run: the independent repetitions."""
    groups = _grouped(group, lambda r: r.subject.get("pipeline", r.subject.get("run")))
    return [[float(a) for r in records if (a := r.metrics["accuracy"]) is not None] for records in groups.values()]


def _share(truths: Iterable[bool]) -> float:
    return statistics.fmean(map(float, truths))
