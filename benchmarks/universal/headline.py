"""The figures that the benchmark is about, from the rows of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.universal import overlap
from benchmarks.universal.accuracy import spread
from benchmarks.universal.finetune import HEADLINE_TARGET
from benchmarks.universal.kept import Row
from weightsmith.architectures.families import Split

SYNTHESIS = "synthesis"
OF_VARIANTS: tuple[Split, ...] = ("unseen_size", "unseen_combination", "held_out_family")  # those with bars
SPLITS = (*OF_VARIANTS, "beyond")


def headline(found: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """What can be said of the parts that there are; of all parts, every key."""
    result: dict[str, Any] = {}
    if "accuracy" in found:
        result |= _accuracies(found["accuracy"])
    if "overlap" in found:
        result |= overlap.medians(list(found["overlap"]))
    if "start" in found:
        row = _one(found["start"], kind="start")
        result["start_conditioned_accuracy"] = row["accuracy"]
        result |= {key: row[key] for key in ("init_dependence", "function_dependence", "start_affinity")}
    if "speed" in found:
        one_thread = [row["median"] for row in found["speed"] if row["kind"] == "speed" and row["threads"] == 1]
        result["seconds_per_network"] = max(one_thread)
        result["tracing_seconds"] = _one(found["speed"], kind="tracing")["median"]
    if "finetune" in found:
        wanted = {"kind": "finetune summary", "target": HEADLINE_TARGET, "rates": "one rate"}
        result["finetune_epoch_ratio"] = _one(found["finetune"], **wanted)["median"]
    if "training" in found:
        result["training_peak_rss_mb"] = _one(found["training"], kind="training")["peak_rss_mb"]
    return result


def _accuracies(rows: Sequence[Row]) -> dict[str, float]:
    result = {}
    for split in SPLITS:
        values = spread([row["accuracy"] for row in rows if row["split"] == split])
        result |= {f"{split}_{name}": values[name] for name in ("median", "p05")}
    return result


def _one(rows: Sequence[Row], **wanted: Any) -> Row:
    return next(row for row in rows if wanted.items() <= row.items())
