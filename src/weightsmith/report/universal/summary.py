"""From records to the numbers that are shown of a universal experiment: a row a split, and a row a family of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.record import Record

Rows = list[dict[str, Any]]
GENERATED, START = "generated", "random init"


@dataclass(frozen=True)
class Summary:
    """`splits`: a row a split; `families`: a row a family of a split; accuracies as fractions.

    Of both: `median`, `p05`, `least` over the first networks of the architectures, one each, `start` over their random
    inits, and `error_overlap` of two networks for one architecture. `networks`: a row an architecture. `training`: what
    it cost. `curve`: a row an epoch.
    """

    splits: Rows
    families: Rows
    networks: Rows
    training: Mapping[str, Any]
    curve: Rows
    measured_on: Mapping[str, Any]

    def split(self, name: str) -> dict[str, Any] | None:
        """The row of a split."""
        return next((row for row in self.splits if row["split"] == name), None)

    def rows(self) -> Rows:
        """Everything as one list, for `--json`."""
        kinds: dict[str, Rows] = {
            "split": self.splits,
            "family": self.families,
            "network": self.networks,
            "training": [dict(self.training)],
        }
        return [{"row": kind, **row} for kind, group in kinds.items() for row in group]


def summarise(records: Sequence[Record]) -> Summary:
    """Group records by split and family. Raises `BadInput` where nothing was measured, or not all of it."""
    networks = _networks(records)
    training = next((record for record in records if record.kind == "training"), None)
    if not networks or training is None:
        raise BadInput("the records hold no complete evaluation", "run `weightsmith evaluate RUN` to its end first")
    curve: Rows = next((record.details["epochs"] for record in records if record.kind == "curve"), [])
    splits = list(dict.fromkeys(row["split"] for row in networks))
    families = list(dict.fromkeys((row["split"], row["family"]) for row in networks))
    return Summary(
        [{"split": name, **_statistics([row for row in networks if row["split"] == name])} for name in splits],
        [
            {"split": split, "family": family, **_statistics([row for row in networks if _of(row, split, family)])}
            for split, family in sorted(families, key=lambda pair: (splits.index(pair[0]), pair[1]))
        ],
        networks,
        {**training.metrics, **training.details},
        curve,
        training.measured_on,
    )


def _of(row: Mapping[str, Any], split: str, family: str) -> bool:
    return (row["split"], row["family"]) == (split, family)


def _networks(records: Sequence[Record]) -> Rows:
    """An architecture a row: its first network, its random init, and how alike two networks for it are."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for record in records:
        if record.kind not in ("network", "pair"):
            continue
        row = found.setdefault((record.subject["split"], record.subject["number"]), {})
        row |= {name: record.subject[name] for name in ("split", "family", "number")}
        if record.kind == "pair":
            row |= record.metrics
        elif record.subject["set"] == START:
            row["start"] = record.metrics["accuracy"]
        elif record.subject["sample"] == 0:
            row |= {**record.metrics, **record.details}
    return list(found.values())


def _statistics(rows: Rows) -> dict[str, Any]:
    known = sorted(row["accuracy"] for row in rows if row["accuracy"] is not None)
    everything = sorted(row["accuracy"] or 0.0 for row in rows)  # what computes nothing predicts nothing
    starts = [row["start"] for row in rows if row["start"] is not None]
    bare = [row["accuracy_without_statistics"] for row in rows if row.get("accuracy_without_statistics") is not None]
    return {
        "architectures": len(rows),
        "not_finite": len(rows) - len(known),
        "median": statistics.median(everything),
        "p05": everything[int(0.05 * len(everything))],
        "least": everything[0],
        "mean": statistics.fmean(everything),
        "start": statistics.median(starts) if starts else None,
        "error_overlap": statistics.fmean(row["error_overlap"] for row in rows),
        "without_statistics": statistics.median(bare) if bare else None,
        "seconds": statistics.median(row["seconds"] for row in rows),
        "tracing_seconds": statistics.median(row["tracing_seconds"] for row in rows),
    }
