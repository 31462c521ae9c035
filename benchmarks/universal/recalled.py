"""What an earlier result says of what depends on no synthesizer, so that it need not be measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.universal.baselines import CHEAP
from benchmarks.universal.budget import Budget
from benchmarks.universal.finetune import Asked, Reached
from benchmarks.universal.headline import SYNTHESIS
from benchmarks.universal.kept import Row
from weightsmith.errors import BadInput

_KINDS = {
    "other generator": "others",
    "trained from init": "inits",
    "output": "start",
    "tracing": "speed",
    "finetune summary": "finetune",
}
_NO_ROWS = ("part", "summary")


def recalled(file: Path) -> dict[str, Any]:
    """The parts of a result that measured no weights of a synthesizer, each as it was kept.

    Raises `BadInput` for a file that is no result of this benchmark.
    """
    rows = _rows(file)
    found: dict[str, Any] = {}
    for row in rows:
        if row["kind"] == "part" and not row["weights"]:
            found[row["part"]] = {**_about(row), "rows": []}
    for row in rows:
        if row["kind"] not in _NO_ROWS and (part := part_of(row)) in found:
            found[part]["rows"].append(row)
    return found


def independent(file: Path) -> dict[int, Row]:
    """By the number of the architecture, what two trained networks of it have in common."""
    names = ("family", "independent_overlap", "independent_accuracies")
    return {row["index"]: {name: row[name] for name in names} for row in _rows(file) if row["kind"] == "overlap"}


def random_inits(file: Path) -> dict[Asked, Reached]:
    """What networks trained from random inits came to, beside which those written are trained."""
    rows = [row for row in _rows(file) if row["kind"] == "finetune"]
    return {
        (row["index"], row["family"], row["target"], row["rates"]): Reached(row["accuracy"], row["random_epochs"])
        for row in rows
    }


def part_of(row: Row) -> str:
    """The part that measured a row."""
    if row["kind"] != "accuracy":
        return _KINDS.get(row["kind"], str(row["kind"]))
    method = str(row["method"])
    if method in CHEAP:
        return method
    return {SYNTHESIS: "accuracy", "one_epoch": "trained", "converged": "trained"}.get(method, "others")


def _about(row: Row) -> Row:
    counts = [field.name for field in fields(Budget)]
    said = {name: row[name] for name in row if name not in ("kind", "part", "weights", *counts)}
    return {"environment": said, "weights": "", "budget": {name: row[name] for name in counts if name in row}}


def _rows(file: Path) -> list[Row]:
    try:
        document: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return list(document["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is no result of this benchmark ({error})", "name one that it has written") from None
