"""Cells: how runs, numbers and metrics stand as text, in tables, in file names and on the command line."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from weightsmith.zoo.rows import Run

_WHOLE = re.compile(r"[-+]?[0-9]{1,19}")
_LIMIT = 2**63
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?(nan|inf(inity)?)", re.IGNORECASE)
_TRUTHS = {"true": True, "false": False}


def run_to_text(run: Run) -> str:
    """A run as one line of text from which `run_from_text` gives it back: 3 is `3`, the text "3" is `"3"`."""
    if isinstance(run, int):
        return str(run)
    plain = run.isprintable() and run.strip() == run != "" and not run.startswith('"') and _whole(run) is None
    return run if plain else json.dumps(run)


def run_from_text(text: str) -> Run:
    """Digits alone are a number (`007` is 7), text in double quotes is that text, anything else is itself."""
    number = _whole(text)
    if number is not None:
        return number
    if text.startswith('"'):
        try:
            named = json.loads(text)
        except ValueError:
            return text
        return named if isinstance(named, str) else text
    return text


def metric_to_text(value: Any) -> str:
    """A metric as JSON: `0.5`, `true`, `null`; read back by `json.loads` without loss."""
    return json.dumps(value, allow_nan=False)


def is_number(text: str) -> bool:
    """Whether `text` is written as a decimal number, or as NaN or infinity."""
    return _NUMBER.fullmatch(text) is not None or _NOT_FINITE.fullmatch(text) is not None


def is_truth(text: str) -> bool:
    """Whether `text` is `true` or `false`, in any case."""
    return text.lower() in _TRUTHS


def read_number(text: str) -> int | float | None:
    """The number that `is_number` text stands for; None where it is not finite."""
    whole = _whole(text)
    if whole is not None:
        return whole
    value = float(text)
    return value if math.isfinite(value) else None


def read_truth(text: str) -> bool:
    """The truth that `is_truth` text stands for."""
    return _TRUTHS[text.lower()]


def read_count(text: str) -> int | None:
    """A whole number, also written as `5.0`; None for anything else."""
    value = read_number(text) if is_number(text) else None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) else None


def _whole(text: str) -> int | None:
    """The integer of 64 bits that `text` is written as."""
    value = int(text) if _WHOLE.fullmatch(text) else None
    return value if value is not None and -_LIMIT <= value < _LIMIT else None
