"""What a zoo knows about one network: its run, step, seed, measurements, and where its bytes lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.hashed import canonical_json

Run = int | str
Metrics = Mapping[str, float | None]
_LIMIT = 2**63


@dataclass(frozen=True)
class RowInfo:
    """One network to be stored: its run (a number or a name, never a path), step, seed and measurements.

    Metrics are finite numbers or `None`; `extra` is any JSON mapping. Raises `BadInput` for anything else.
    """

    run: Run
    step: int
    seed: int
    metrics: Metrics = field(default_factory=dict, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        problem = _problem(self.run, self.step, self.seed, self.metrics, self.extra)
        if problem:
            raise BadInput(f"row of run {self.run!r}, step {self.step!r}: {problem}", "correct it and append again")

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "step": self.step,
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "extra": dict(self.extra),
        }


@dataclass(frozen=True)
class Row:
    """One stored network: what is known about it, the hash of its bytes, and its place in the zoo.

    `index` counts rows over the whole zoo, `position` within the file `segment`; `layout` is a layout's fingerprint.
    """

    index: int
    run: Run
    step: int
    seed: int
    metrics: Metrics = field(hash=False)
    extra: Mapping[str, Any] = field(hash=False)
    sha256: str
    segment: str
    position: int
    layout: str


@dataclass(frozen=True)
class Quarantined:
    """A network that was refused, and why."""

    run: Run
    step: int
    reason: str


def check_row_json(entry: Any, where: str) -> None:
    """Raise `ArtifactError` unless `entry`, found in `where`, is a row as a segment or the log states it."""
    keys = {"run", "step", "seed", "metrics", "extra", "sha256"}
    problem: str | None = "not a row"
    if isinstance(entry, dict) and entry.keys() == keys and isinstance(entry["sha256"], str):
        # What was parsed strictly is JSON already, so only the meaning is left to check.
        problem = _identity_problem(entry["run"], entry["step"], entry["seed"]) or _metrics_problem(entry["metrics"])
        problem = problem or (None if isinstance(entry["extra"], dict) else "extra is not a mapping")
    if problem:
        raise ArtifactError(f"{where} states a bad row: {problem}", "restore the file from a copy")


def quarantined_from_json(entry: Any, where: str) -> Quarantined:
    """Read one quarantined row as a segment or the log states it. Raises `ArtifactError`."""
    holds = isinstance(entry, dict) and entry.keys() == {"run", "step", "reason"} and isinstance(entry["reason"], str)
    if not holds or _identity_problem(entry["run"], entry["step"], 0):
        raise ArtifactError(f"{where} states a bad quarantined row {entry!r}", "restore the file from a copy")
    return Quarantined(**entry)


def require_json(document: Any, what: str) -> None:
    """Raise `BadInput` unless `document` is a mapping that JSON can hold."""
    problem = "not a mapping" if not isinstance(document, Mapping) else _json_problem(dict(document))
    if problem:
        raise BadInput(f"{what} {problem}", "give a mapping of text, finite numbers, booleans, lists and mappings")


def _problem(run: Any, step: Any, seed: Any, metrics: Any, extra: Any) -> str | None:
    problem = _identity_problem(run, step, seed) or _metrics_problem(metrics)
    if problem is None and not isinstance(extra, Mapping):
        problem = "extra is not a mapping"
    return problem or _json_problem([run, dict(metrics), dict(extra)])


def _identity_problem(run: Any, step: Any, seed: Any) -> str | None:
    if not (type(run) is int and -_LIMIT <= run < _LIMIT) and not isinstance(run, str):
        return f"run {run!r} is neither a 64-bit integer nor text"
    for name, value in (("step", step), ("seed", seed)):
        if type(value) is not int or not 0 <= value < _LIMIT:
            return f"{name} {value!r} is not an integer in [0, 2^63)"
    return None


def _metrics_problem(metrics: Any) -> str | None:
    if type(metrics) is not dict and not isinstance(metrics, Mapping):  # the first is several times faster to ask
        return "metrics are not a mapping"
    for name, value in metrics.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            return f"metric name {name!r} is not printable text"
        if type(value) is float and math.isfinite(value):
            continue
        whole = isinstance(value, int) and -_LIMIT <= value < _LIMIT
        if not (value is None or whole or (isinstance(value, float) and math.isfinite(value))):
            return f"metric {name!r} is {value!r}, not a finite number or None"
    return None


def _json_problem(document: Any) -> str | None:
    try:
        canonical_json(document).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return None
