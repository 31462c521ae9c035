"""What Ray Tune writes down of a trial: its settings, and one result a line; which line is about which checkpoint.

Until version 2.6 Ray named a checkpoint's folder by its `training_iteration`, and wrote an `experiment_id` into every
result and `.is_checkpoint` or `.tune_metadata` into the folder. Since 2.7 folders are counted from 0, and results of
functions, but not of `Trainable` classes, state the `checkpoint_dir_name` (ray-project/ray issue 38579; seen in runs of
2.60). So the line about a checkpoint is the one that names it; by its number where Ray was old, or where the numbers
reach as far as the iterations; by its place where there are as many checkpoints as results; else nothing says it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsmith.errors import ArtifactError
from weightsmith.zoo.importing.sources.candidate import require_regular

NOT_MEASURED = -999  # what the code of the published zoos reports of training before the first epoch
MAX_JSON_BYTES = 16_000_000
_ITERATION, _FOLDER, _OLD = "training_iteration", "checkpoint_dir_name", "experiment_id"
# What Ray fills in by itself, of the machine and the clock; and the settings, which params.json holds.
_BOOKKEEPING = frozenset(
    (
        *(_ITERATION, _FOLDER, _OLD, "iterations_since_restore", "time_total_s", "time_this_iter_s", "config", "pid"),
        *("time_since_restore", "timestamp", "date", "done", "episodes_total", "episodes_this_iter", "warmup_time"),
        *("timesteps_total", "timesteps_this_iter", "timesteps_since_restore", "hostname", "node_ip", "trial_id"),
        *("experiment_tag", "should_checkpoint"),
    )
)
_REMEDY = "restore it from a copy, or leave this model out of the folder"


@dataclass(frozen=True)
class Matched:
    """What is known of one checkpoint: its step, and what was measured, or None where nothing says which line it is."""

    step: int
    metrics: Mapping[str, Any] | None


def match_results(
    results: Sequence[Mapping[str, Any]], checkpoints: Mapping[str, int], marked: bool
) -> dict[str, Matched]:
    """The result of each checkpoint, given its folder's number; `marked` is whether an old Ray has left its files."""
    lines = {line[_ITERATION]: line for line in results}  # the last of several
    named = {line[_FOLDER]: line for line in results if isinstance(line.get(_FOLDER), str)}
    numbers, iterations = sorted(checkpoints.values()), sorted(lines)
    if named:
        return {name: _matched(named.get(name), number) for name, number in checkpoints.items()}
    is_old = marked or any(_OLD in line for line in results) or not iterations or numbers[-1] >= iterations[-1]
    if is_old:
        return {name: _matched(lines.get(number, {}), number) for name, number in checkpoints.items()}
    if numbers == list(range(len(iterations))):
        return {name: _matched(lines[iterations[number]], number) for name, number in checkpoints.items()}
    return {name: Matched(number, None) for name, number in checkpoints.items()}


def read_results(path: Path) -> list[dict[str, Any]]:
    """The lines of a `result.json`, none where there is no such file. Raises `ArtifactError`."""
    if not path.exists():
        return []
    *whole, rest = _read(path).split("\n")
    lines = [_result(line, f"{path} line {number}") for number, line in enumerate(whole, 1) if line]
    try:
        return [*lines, _result(rest, str(path))]
    except ArtifactError:  # a trial that was killed leaves half a line
        return lines


def read_settings(path: Path, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings in a `params.json`, or those in the results, without nesting: `{"a": {"b": 1}}` is `{"a.b": 1}`."""
    document = _parsed(_read(path), str(path)) if path.exists() else results[-1].get("config", {}) if results else {}
    if not isinstance(document, dict):
        raise ArtifactError(f"{path} does not hold settings", _REMEDY)
    return _flat(document)


def _matched(line: Mapping[str, Any] | None, number: int) -> Matched:
    if line is None:
        return Matched(number, None)
    return Matched(line.get(_ITERATION, number), _metrics(line))


def _result(text: str, where: str) -> dict[str, Any]:
    line = _parsed(text, where)
    if not isinstance(line, dict) or type(line.get(_ITERATION)) is not int:
        raise ArtifactError(f"{where} is not a result with a {_ITERATION}", _REMEDY)
    return line


def _read(path: Path) -> str:
    require_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise ArtifactError(f"{path} has more than {MAX_JSON_BYTES:,} bytes", _REMEDY)
        return data.decode()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not UTF-8 text: {error.reason}", _REMEDY) from None


def _parsed(text: str, name: str) -> Any:
    """JSON as Ray writes it: with NaN and infinity, which become None here."""
    try:
        return json.loads(text, parse_constant=lambda _: None, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is not valid JSON: {error}", _REMEDY) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands in it twice")
    return result


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in result.items():
        if name in _BOOKKEEPING or not name.isprintable() or not name:
            continue
        if value is None or isinstance(value, bool | int | float):
            lacking = value == NOT_MEASURED or (isinstance(value, float) and not math.isfinite(value))
            found[name] = None if lacking else value
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
