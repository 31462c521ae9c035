"""Splits of a zoo by run, never by step: steps of one run are nearly copies of one another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from weightsmith.errors import BadInput
from weightsmith.seeds import derive_seed
from weightsmith.zoo.rows import Run


def split_runs(runs: Sequence[Run], parts: Mapping[str, float | int], seed: int) -> dict[str, list[Run]]:
    """Deal runs into disjoint named parts: `{"train": 0.8, "held_out": 0.2}` or `{"train": 100, "held_out": 20}`.

    Whether a run comes early in the dealing depends on the seed and the run's name alone, not on the order of storage.
    Raises `BadInput` when the parts ask for more than there is, or a part would be empty.
    """
    sizes = _sizes(len(runs), parts)
    dealt = sorted(runs, key=lambda run: (derive_seed(seed, "split", json.dumps(run)), json.dumps(run)))
    result, start = {}, 0
    for name, size in sizes.items():
        result[name] = dealt[start : start + size]
        start += size
    return result


def _sizes(runs: int, parts: Mapping[str, float | int]) -> dict[str, int]:
    counts = all(type(part) is int for part in parts.values())
    total = sum(parts.values())
    if not parts or not all(part > 0 for part in parts.values()) or total > (runs if counts else 1 + 1e-9):
        raise BadInput(
            f"{dict(parts)!r} cannot be dealt from {runs} runs",
            "give positive counts that sum to at most the number of runs, or fractions that sum to at most 1",
        )
    if counts:
        return {name: int(part) for name, part in parts.items()}
    sizes, given, reached = {}, 0, 0.0
    for name, part in parts.items():
        reached += part
        sizes[name] = min(runs, round(reached * runs)) - given
        given += sizes[name]
        if sizes[name] < 1:
            raise BadInput(
                f"part {name!r} = {part} of {runs} runs is empty", "ask for a larger part or build more runs"
            )
    return sizes
