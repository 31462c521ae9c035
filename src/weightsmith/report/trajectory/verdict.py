"""What the numbers allow to be said, in words; every sentence states the numbers that it rests on."""

from __future__ import annotations

from typing import Any

from weightsmith.report.table import percent, ratio
from weightsmith.report.trajectory.summary import Summary

HARDLY = 0.1  # a ratio below this: hardly depends on the init
COPY = 0.01  # nearest-checkpoint distance, as a share of that between independent networks, called a copy
NEAR = 0.25  # and below this, near the training checkpoints
REPLAY = 0.9  # share of networks whose nearest checkpoint is that of their own step, called a replay
MEAN_BASELINE = "mean of the checkpoints"


def verdict(summary: Summary, headline: str) -> list[str]:
    """Sentences about one training budget: its accuracy, the baselines, dependence on the init, and replay."""
    sentences = [_accuracy(summary, headline), _against_baselines(summary, headline), _dependence(summary, headline)]
    sentences += [_nearness(summary, budget) for budget in summary.budgets]
    return [sentence for sentence in (*sentences, _conclusion(summary, headline)) if sentence]


def headline_numbers(summary: Summary, budget: str) -> dict[str, Any]:
    """The few numbers that the experiment is about, and the verdict."""
    numbers: dict[str, Any] = {"budget": budget, "inits": summary.inits, "pipelines": summary.pipelines}
    for step in (1, 2):
        row = summary.step(budget, step) or {}
        numbers[f"step{step}_accuracy"] = row.get("accuracy_mean")
    first = summary.step(budget, 1) or {}
    numbers |= {name: first.get(name) for name in ("init_dependence", "function_dependence")}
    numbers["mean_of_checkpoints_accuracy"] = _mean_baseline(summary)
    return {**numbers, "depends_on_init": depends_on_init(summary, budget), "verdict": verdict(summary, budget)}


def depends_on_init(summary: Summary, budget: str) -> bool | None:
    """Whether either dependence reaches `HARDLY` after one step or at the last; `None` where neither was measured."""
    rows = [summary.step(budget, step) for step in {1, summary.last_step}]
    values = [row[key] for row in rows if row for key in ("init_dependence", "function_dependence")]
    known = [value for value in values if value is not None]
    return None if not known else max(known) >= HARDLY


def _accuracy(summary: Summary, budget: str) -> str:
    parts = []
    for step in (1, 2):
        row = summary.step(budget, step)
        if row:
            parts.append(f"{percent(row['accuracy_mean'])} after {step} step{'s' if step > 1 else ''}")
    return (
        f"The {summary.model['generator']} generator on {summary.model['codec']} tokens, trained for the budget "
        f"“{budget}”, takes {summary.inits} unseen random inits in each of {summary.pipelines} independent pipelines "
        f"to {' and '.join(parts)} (mean test accuracy)."
    )


def _against_baselines(summary: Summary, budget: str) -> str:
    """The baseline is fixed beforehand, the mean of all checkpoints: the best of several would be chosen on test."""
    mean = _mean_baseline(summary)
    rows = [row for row in summary.steps if row["budget"] == budget]
    steps = [row["accuracy_mean"] for row in rows if row["accuracy_mean"] is not None]
    text = (
        f"With no model at all, the mean of the training checkpoints scores {percent(mean)}; "
        f"the generator's steps score between {percent(min(steps, default=None))} and "
        f"{percent(max(steps, default=None))}."
    )
    broken = sum(row["not_finite"] for row in rows)
    if broken:
        text += f" {broken} of its {sum(row['networks'] for row in rows)} networks are not finite and have no accuracy."
    untrained = summary.step(summary.untrained, 1) if summary.untrained else None
    if untrained and budget != summary.untrained:
        text += f" The same generator, not trained at all, scores {percent(untrained['accuracy_mean'])} after one step."
    return text


def _dependence(summary: Summary, budget: str) -> str:
    first, last = summary.step(budget, 1), summary.step(budget, summary.last_step)
    if first is None or last is None or first["init_dependence"] is None:
        return (
            "How much the outputs depend on the init could not be measured: that takes at least five inits, three "
            "independently trained networks that differ, and finite outputs."
        )
    reason = (
        " This is so by construction: of an init the codec keeps only what lies in the span of the checkpoints."
        if summary.projects
        else ""
    )
    strength = "hardly depends on the init" if not depends_on_init(summary, budget) else "depends on the init"
    return (
        f"What comes out {strength}: init_dependence is {ratio(first['init_dependence'])} after one step and "
        f"{ratio(last['init_dependence'])} after {summary.last_step}, function_dependence "
        f"{ratio(first['function_dependence'])} and {ratio(last['function_dependence'])} "
        f"(0: the init does not matter; 1: as much as in ordinary training).{reason}"
    )


def _nearness(summary: Summary, budget: str) -> str:
    """Where the generated networks lie among the training checkpoints, over the steps that training had epochs for."""
    apart, rows = summary.independent.get("distance"), _steps_with_epochs(summary, budget)
    distance = _mean_distance(rows)
    if not apart or distance is None or distance >= NEAR * apart:
        return ""
    replay = min(row["at_checkpoint"] for row in rows) >= REPLAY
    if distance >= COPY * apart:
        manner = "stays near its training checkpoints"
    else:
        manner = "replays the training trajectory" if replay else "copies its training checkpoints"
    return (
        f"Budget “{budget}” {manner}: its networks lie on average {distance:.2g} from the nearest one, "
        f"{percent(distance / apart)} of the distance between independently trained networks ({apart:.3g})."
    )


def _conclusion(summary: Summary, budget: str) -> str:
    """What the two measurements say: whether the init decides, and how near the outputs lie to the training set."""
    depends = depends_on_init(summary, budget)
    if depends is None:
        return "Without the dependence on the init, nothing is claimed about generation."
    if depends:
        return "The outputs depend on the init; whether they are new is for the distances to tell."
    apart, distance = summary.independent.get("distance"), _mean_distance(_steps_with_epochs(summary, budget))
    constant = "So whatever init goes in, nearly the same network comes out"
    if apart and distance is not None and distance < NEAR * apart:
        return f"{constant}, and it lies among the training checkpoints: their accuracy is shown, not a new network."
    return f"{constant}: that is a constant answer, not generation from the init."


def _steps_with_epochs(summary: Summary, budget: str) -> list[dict[str, Any]]:
    epochs = {row["step"] for row in summary.originals}
    return [row for row in summary.steps if row["budget"] == budget and row["step"] in epochs]


def _mean_distance(rows: list[dict[str, Any]]) -> float | None:
    distances = [row["nearest_checkpoint_distance"] for row in rows]
    return None if not distances or None in distances else sum(distances) / len(distances)


def _mean_baseline(summary: Summary) -> float | None:
    return next(row["accuracy_mean"] for row in summary.baselines if row["name"] == MEAN_BASELINE)
