"""The tables of docs/experiments/population.md, written from the last result of `benchmarks.diffusion`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.diffusion_experiments import EXPERIMENTS
from benchmarks.harness import RESULTS

PAGE = Path("docs/experiments/population.md")
BEGIN, END = "<!-- tables: python -m benchmarks.diffusion_table -->", "<!-- end of tables -->"
SETS = {"training": "learned from", "held out": "held out", "reconstructed": "held out, through the codec and back"}
Row = dict[str, Any]


def tables(rows: Sequence[Row]) -> str:
    """Every table, as Markdown."""
    parts = [_sets(name, [row for row in rows if row.get("experiment") == name]) for name in EXPERIMENTS]
    return "\n\n".join([*filter(None, parts), _given(rows), _rates(rows)])


def _sets(name: str, rows: Sequence[Row]) -> str:
    training = next((row for row in rows if row["kind"] == "training"), None)
    if training is None:
        return ""
    size = f"{training['tokens']} x {training['token_dim']} numbers"
    work = f"{training['updates']:,} updates in {training['seconds']:.0f} s"
    heading = (
        f"**{name}**: codec `{training['codec']}` ({size}), {training['parameters'] / 1e6:.1f} M parameters, {work}"
    )
    calibration = [f", asked for accuracy: r2 {row['r2']:.3f}" for row in rows if row["kind"] == "calibration"]
    head = (
        "networks",
        "how many",
        "accuracy %",
        "sd",
        "worst %",
        "nearest ratio",
        "dispersion",
        "novel and performant %",
    )
    body = [
        (
            SETS.get(row["set"], row["name"]),
            str(row["networks"]),
            *(_percent(row.get(f"accuracy_{key}")) for key in ("mean", "std", "min")),
            *(_ratio(row.get(key)) for key in ("nearest_ratio", "dispersion_ratio")),
            _percent(row.get("novel_and_performant"), 0),
        )
        for row in rows
        if row["kind"] == "set"
    ]
    return f"{heading}{''.join(calibration)}.\n\n{_markdown(head, body)}"


def _given(rows: Sequence[Row]) -> str:
    head = (
        "experiment",
        "layer generated",
        "networks",
        "accuracy %",
        "best training layer in its place %",
        "its own %",
        "gain, points",
    )
    body = [
        (
            row["experiment"],
            f"`{row['layer']}`",
            str(row["networks"]),
            *(_percent(row[key]) for key in ("accuracy", "best_training_accuracy", "own_accuracy")),
            f"{100 * row['gain']:+.1f}",
        )
        for row in rows
        if row["kind"] == "given"
    ]
    return f"**A layer of held-out networks, given the rest.**\n\n{_markdown(head, body)}"


def _rates(rows: Sequence[Row]) -> str:
    head = ("generator", "how", "networks a second", "spread", "accuracy %")
    body = [
        (
            row["experiment"],
            ", ".join(f"{key} {row[key]}" for key in ("n", "sampler", "steps") if key in row),
            f"{row['median']:,.0f}",
            f"{min(row['all']):,.0f} to {max(row['all']):,.0f}",
            _percent(row["accuracy"]),
        )
        for row in rows
        if row["kind"] == "rate"
    ]
    return f"**Rates on two cores, decoded.**\n\n{_markdown(head, body)}"


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_tables(page: str, rows: Sequence[Row]) -> str:
    """The page with its tables written anew."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    return re.sub(pattern, lambda _: f"{BEGIN}\n\n{tables(rows)}\n\n{END}", page, flags=re.DOTALL)


def main() -> None:
    rows = json.loads((RESULTS / "diffusion.json").read_text(encoding="utf-8"))["rows"]
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
