"""The tables of a population experiment."""

from __future__ import annotations

from typing import Any

from weightsmith.report.population.summary import Summary
from weightsmith.report.table import MISSING, Table, number, percent, ratio

NOVELTY = ("novel", "performant", "novel_and_performant")
TINY = 1e-3  # ratios below it are those of copies, up to rounding


def sets_table(summary: Summary, member: str) -> Table:
    """How good and how new every set of networks is: real, generated, and the baselines."""
    columns = ["networks", "n", "accuracy %", "worst %", "loss", "nearest ratio", "dispersion", "error overlap"]
    columns += ["copying z", "novel", "performant", "both"]
    rows = []
    for row in (row for row in summary.sets if row["member"] == member):
        cells = [
            _title(row),
            str(row["networks"]),
            _spread(row),
            _percent(row["accuracy_min"]),
            number(row["loss_mean"]),
        ]
        cells += [_ratio(row.get(name)) for name in ("nearest_ratio", "dispersion_ratio", "error_overlap")]
        cells += [number(row.get("data_copying_score"), 1), *(_percent(row.get(name), 0) for name in NOVELTY)]
        rows.append(cells)
    return _without_empty(Table(f"How good and how new: {member}", columns, rows))


def _without_empty(table: Table) -> Table:
    """Without the columns in which nothing was measured."""
    kept = [i for i in range(len(table.columns)) if any(row[i] != MISSING for row in table.rows)]
    return Table(table.title, [table.columns[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def _ratio(value: float | None) -> str:
    return f"< {TINY:g}" if value is not None and 0 < value < TINY else ratio(value)


def given_table(summary: Summary) -> Table:
    """Each layer of held-out networks, generated given the rest."""
    columns = ["layer", "networks", "generated %", "best training layer %", "gain", "its own %"]
    rows = [
        [
            row["layer"] if len(summary.members) == 1 else f"{row['member']}: {row['layer']}",
            str(row["networks"]),
            _percent(row["accuracy"]),
            _percent(row["best_training_accuracy"]),
            _percent(row["gain"]),
            _percent(row["own_accuracy"]),
        ]
        for row in summary.given
    ]
    return Table("One layer of held-out networks, generated given the rest", columns, rows)


def training_table(summary: Summary) -> Table:
    """What the generators cost, and how fast they sample."""
    columns = ["generator", "budget", "parameters", "updates", "loss", "validation", "seconds", "samples a second"]
    rows = [
        [
            row["member"],
            row["budget"],
            f"{row['parameters']:,.0f}",
            f"{row['updates']:.0f}",
            number(row["loss"]),
            number(row.get("validation_loss")),
            f"{row['seconds']:.1f}",
            MISSING if row["samples_per_second"] is None else f"{row['samples_per_second']:,.0f}",
        ]
        for row in summary.training
    ]
    return Table("Training of the generators", columns, rows)


def _title(row: dict[str, Any]) -> str:
    return row["set"] if row["name"] in ("", row["set"]) else f"{row['set']}: {row['name']}"


def _spread(row: dict[str, Any]) -> str:
    if row["accuracy_mean"] is None:
        return MISSING
    deviation = "" if row["accuracy_std"] is None else f" ± {100 * row['accuracy_std']:.2f}"
    return f"{100 * row['accuracy_mean']:.2f}{deviation}"


def _percent(value: float | None, digits: int = 2) -> str:
    return percent(value).removesuffix(" %") if digits == 2 or value is None else f"{100 * value:.{digits}f} %"
