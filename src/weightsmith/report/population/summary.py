"""From records to the numbers that are shown of a population experiment: one row a set of networks."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.record import Record

Rows = list[dict[str, Any]]
ORDER = ("training", "held out", "reconstructed", "generated", "baseline")


@dataclass(frozen=True)
class Summary:
    """`sets`: one row a set of networks (`member`, `set`, `name`), accuracies as fractions, losses in nats.

    `accuracy_mean`, `_std`, `_min` are over the networks of the set; the rest is from its audit, `None` where it was
    not measured. `distances`: the names of those that were used. `wanted`: one row a network that was asked for by
    accuracy. `given`: one row a layer. `training`: one row a generator. `images`: how many test images of each data set
    the networks were measured on.
    """

    sets: Rows
    wanted: Rows
    given: Rows
    training: Rows
    measured_on: Mapping[str, Any]
    images: Mapping[str, int]
    distances: Sequence[str]
    members: Sequence[str]

    def of(self, member: str, set: str, name: str | None = None) -> dict[str, Any] | None:
        """The row of one set, the first where no name is given."""
        rows = (row for row in self.sets if (row["member"], row["set"]) == (member, set))
        return next((row for row in rows if name in (None, row["name"])), None)

    def generated(self, member: str, headline: str) -> dict[str, Any]:
        """The row of the headline budget, sampled as its generator does by itself."""
        found = self.of(member, "generated", headline)
        if found is None:
            raise BadInput(f"nothing was generated for {member} with {headline}", "run `weightsmith evaluate RUN`")
        return found

    def rows(self) -> Rows:
        """Everything as one list, for `--json`."""
        kinds = {"set": self.sets, "wanted": self.wanted, "given": self.given, "training": self.training}
        return [{"row": kind, **row} for kind, group in kinds.items() for row in group]


def summarise(records: Sequence[Record]) -> Summary:
    """Group records by the set of networks they are of. Raises `BadInput` where nothing was generated."""
    networks: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    audits: dict[tuple[str, str, str], Record] = {}
    for record in records:
        if record.kind in ("network", "audit"):
            key = (record.subject["member"], record.subject["set"], record.subject["name"])
            if record.kind == "audit":
                audits[key] = record
            else:
                networks[key].append(record)
    if not any(key[1] == "generated" for key in networks):
        raise BadInput("the records hold no complete evaluation", "run `weightsmith evaluate RUN` to its end first")
    members = list(dict.fromkeys(key[0] for key in networks))
    keys = sorted(networks, key=lambda key: (members.index(key[0]), ORDER.index(key[1])))
    sets = [
        {
            "member": member,
            "set": kind,
            "name": name,
            **_statistics(networks[member, kind, name]),
            **(dict(audits[member, kind, name].metrics) if (member, kind, name) in audits else {}),
        }
        for member, kind, name in keys
    ]
    return Summary(
        sets=sets,
        wanted=_plain(records, "wanted"),
        given=_given(records),
        training=_plain(records, "training"),
        measured_on=next(record.measured_on for record in records if record.kind == "network"),
        images={r.measured_on["dataset"]: r.measured_on["images"] for r in records if r.kind == "network"},
        distances=list(dict.fromkeys(r.measured_on["distance"] for r in records if r.kind == "network")),
        members=members,
    )


def _plain(records: Iterable[Record], kind: str) -> Rows:
    return [{**record.subject, **record.metrics, **record.details} for record in records if record.kind == kind]


def _given(records: Iterable[Record]) -> Rows:
    """Means over the held-out networks, a row a layer."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.kind == "given":
            groups[record.subject["member"], record.subject["layer"]].append(record)
    return [
        {"member": member, "layer": layer, "networks": len(group), **_means(group)}
        for (member, layer), group in groups.items()
    ]


def _statistics(group: Sequence[Record]) -> dict[str, float | int | None]:
    accuracies = [float(value) for record in group if (value := record.metrics["accuracy"]) is not None]
    losses = [float(value) for record in group if (value := record.metrics["loss"]) is not None]
    return {
        "networks": len(group),
        "not_finite": len(group) - len(accuracies),
        "accuracy_mean": statistics.fmean(accuracies) if accuracies else None,
        "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "accuracy_median": statistics.median(accuracies) if accuracies else None,
        "accuracy_min": min(accuracies, default=None),
        "accuracy_max": max(accuracies, default=None),
        "loss_mean": statistics.fmean(losses) if losses else None,
    }


def _means(group: Sequence[Record]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for name in group[0].metrics:
        known = [float(value) for record in group if (value := record.metrics[name]) is not None]
        result[name] = statistics.fmean(known) if known else None
    return result
