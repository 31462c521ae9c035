"""Weights for architectures never seen before: how good, how different, how fast, and what they save, on test images.

Every part goes on where it stopped: the networks it has measured are kept in runs/benchmarks/universal. Parts that
train are `trained` (the zoo of `nearest_zoo`, too), `finetune` and `overlap`, which take hours, and `inits`; of the
others `accuracy`, `others` and `ridge_head` take half an hour or more. Two processes, with `--share 0/2` and
`--share 1/2`, halve that. What depends on no synthesizer can be taken from an earlier result, with `--recall`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.harness import WORK, parser, write_result
from benchmarks.universal import accuracy, baselines, finetune, overlap, speed, start
from benchmarks.universal.baselines import CHEAP, Bench
from benchmarks.universal.budget import Budget
from benchmarks.universal.generators import Source, load_source
from benchmarks.universal.headline import OF_VARIANTS, SYNTHESIS, headline
from benchmarks.universal.kept import Kept, Row, Share
from benchmarks.universal.recalled import independent, random_inits, recalled
from benchmarks.universal_ablations import VARIANTS
from weightsmith.architectures.families import SPLITS
from weightsmith.datasets import Dataset, load_dataset
from weightsmith.environment import describe_environment
from weightsmith.errors import BadInput, WeightsmithError
from weightsmith.pretrained import FROM_START, synthesizer_folder

# In this order: the zoo of nearest_zoo is trained by trained, and start compares with the networks of inits.
BASELINES = ("random_init", "ridge_head", "trained", "nearest_zoo", "others")
PARTS = ("accuracy", "speed", *BASELINES, "finetune", "overlap", "inits", "start", "training")
WHOLE = ("speed", "nearest_zoo", "start", "training")  # not shared: they time, or need what the other shares train
ABLATIONS = WORK / "universal-ablations"
COMPARED = ("full", "ghn", "flow")  # of others, those without which there is no result
OF_SYNTHESIS = ("accuracy", "speed", "finetune", "overlap", "training")


class Measuring:
    """What the parts share: whose weights, which images, and where what was measured is kept."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted, self.budget, self.share = wanted, Budget.of(wanted), Share.read(wanted.share)
        self.work = WORK / "universal" / wanted.dataset
        self.work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def data(self) -> Dataset:
        return load_dataset(self.wanted.dataset)

    @cached_property
    def recalled(self) -> dict[str, Any]:
        """The parts that an earlier result has, where one is named."""
        return {} if self.wanted.recall is None else recalled(self.wanted.recall)

    @cached_property
    def source(self) -> Source:
        return load_source(SYNTHESIS, self.wanted.synthesizer)

    @cached_property
    def start_source(self) -> Source:
        return load_source("start", self.wanted.start or synthesizer_folder(FROM_START[0]))

    def marks(self, part: str) -> str:
        """Which weights a part measures; empty for a part that measures none."""
        if part in OF_SYNTHESIS:
            return self.source.mark
        return self.start_source.mark if part == "start" else ""

    def document(self, part: str) -> dict[str, Any]:
        """A part as it is kept: its rows, what measured them, whose weights, and how much was asked for."""
        rows, commits = self.measure(part)
        environment = {**describe_environment(), **({"commits": ", ".join(commits)} if commits else {})}
        about = {"environment": environment, "weights": self.marks(part), "budget": self.budget.to_json()}
        return {**about, "rows": rows}

    def measure(self, part: str) -> tuple[list[Row], list[str]]:
        """The rows of a part, and the commits that measured them."""
        kept = Kept(self.work / f"kept-{part}.jsonl", self.share, data=self.data.fingerprint)
        trained = Kept(self.work / "kept-trained.jsonl", self.share, data=self.data.fingerprint)
        bench = Bench(trained if part == "trained" else kept, self.data, self.budget, self.work)
        pairs, curves = ({}, {}) if (file := self.wanted.recall) is None else (independent(file), random_inits(file))
        ways: dict[str, Callable[[], list[Row]]] = {
            "accuracy": lambda: accuracy.measured(self.source, kept, self.data, self.budget.architectures),
            "speed": lambda: speed.measured(self.source, self.data, self.budget),
            **{method: lambda method=method: baselines.cheap(method, bench) for method in CHEAP},
            "trained": lambda: baselines.trained(bench),
            "others": lambda: [row for one in self._others() for row in self._other(one, kept)],
            "finetune": lambda: finetune.measured(self.source, kept, self.data, self.budget, curves),
            "overlap": lambda: overlap.measured(self.source, kept, trained, self.data, self.budget, self.work, pairs),
            "inits": lambda: start.trained_inits(kept, self.data, self.budget, self.work),
            "start": lambda: start.measured(self.start_source, self.data, self.budget, self.work),
            "training": lambda: [self.source.training()],
        }
        rows = ways[part]()
        return rows, sorted({*kept.commits, *trained.commits})

    def _other(self, source: Source, kept: Kept) -> list[Row]:
        splits = SPLITS if source.name in COMPARED else OF_VARIANTS
        rows = accuracy.measured(source, kept, self.data, self.budget.compared, splits)
        return [{"kind": "other generator", **source.told()}, *rows]

    def _others(self) -> list[Source]:
        found = []
        for text in self.wanted.others:
            name, _, path = text.partition("=")
            if not name or not path or name == SYNTHESIS:
                raise BadInput(f"--others {text!r} is not NAME=FOLDER", "as in --others ghn=runs/ghn/synthesizer")
            found.append(load_source(name, Path(path)))
        return found


def options() -> argparse.ArgumentParser:
    found = parser("universal", __doc__ or "")
    found.add_argument("--synthesizer", type=Path, help="a folder, or a bare state; without it, the shipped one")
    found.add_argument("--start", type=Path, help="the start-conditioned one; without it, the shipped one")
    found.add_argument(
        "--others",
        nargs="*",
        default=[f"{name}={ABLATIONS / name}" for name in VARIANTS],
        metavar="NAME=FOLDER",
        help="other generators; without it, all variants of benchmarks.universal_ablations, where that puts them",
    )
    found.add_argument(
        "--parts", nargs="*", choices=[*PARTS, "baselines"], help="do these (anew from what is kept); without it, all"
    )
    found.add_argument(
        "--share",
        default="0/1",
        metavar="OWN/OF",
        help="measure and keep a share of every part, and no more: 0/2 here and 1/2 in another process, then neither",
    )
    found.add_argument("--recall", type=Path, metavar="RESULT", help="a result, for parts that are not in runs/")
    Budget.add_options(found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    wanted = options().parse_args(arguments)
    measuring, chosen = Measuring(wanted), chosen_parts(wanted.parts)
    files = {part: measuring.work / f"part-{part}.json" for part in PARTS}
    try:
        if measuring.share.of > 1:
            for part in chosen:
                if part not in WHOLE:
                    measuring.measure(part)
            return
        for part in chosen:
            files[part].write_text(json.dumps(measuring.document(part)))
        own = {part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}
        assemble({**measuring.recalled, **own}, wanted.json)
    except WeightsmithError as error:
        sys.exit(f"error: {error}")


def assemble(documents: Mapping[str, Any], path: Path) -> None:
    """Write the result where every part is there and has measured the same weights, or say what is to be done."""
    missing = [part for part in PARTS if part not in documents]
    stale = differing({part: document["weights"] for part, document in documents.items()})
    found = {part: document["rows"] for part, document in documents.items()}
    lacking = [name for name in COMPARED if "others" in found and name not in _generators(found["others"])]
    if missing or stale or lacking:
        for key, value in headline(found).items():
            print(f"{key:40} {value}")
        if missing or stale:
            print(f"still to be done: --parts {' '.join([*missing, *stale])}")
        if lacking:
            print(f"still to be compared with, in --others: {', '.join(lacking)}")
        return
    parts = [{"kind": "part", "part": part, **_said(document)} for part, document in documents.items()]
    rows = [row for part in PARTS for row in found[part]]
    write_result(path, headline(found), [*parts, *accuracy.summaries(rows), *rows])


def chosen_parts(wanted: Sequence[str] | None) -> list[str]:
    """In the order in which they build on one another."""
    if wanted is None:
        return [*PARTS]
    names = {name for one in wanted for name in (BASELINES if one == "baselines" else (one,))}
    return [part for part in PARTS if part in names]


def differing(weights: Mapping[str, str]) -> list[str]:
    """The parts of synthesis that measured other weights than `accuracy` did."""
    return [
        part for part in OF_SYNTHESIS if part in weights and weights[part] != weights.get("accuracy", weights[part])
    ]


def _generators(rows: Sequence[Row]) -> set[str]:
    return {row["generator"] for row in rows if row["kind"] == "other generator"}


def _said(document: Mapping[str, Any]) -> Row:
    return {**document["environment"], "weights": document["weights"], **document["budget"]}


if __name__ == "__main__":
    main()
