"""Diffusion over weights: how good and how new samples are, for every codec and sampler, and how fast they come.

Every part is a zoo or an experiment of `diffusion_experiments.py`, in its own folder, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import weightsmith as ws
from benchmarks.diffusion_experiments import BASE, EXPERIMENTS, RATES, ZOOS, Experiment
from benchmarks.harness import WORK, median_rate, parser, write_result
from weightsmith.environment import describe_environment
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.report.population.summary import Summary
from weightsmith.report.population.verdict import calibration_r2, headline_numbers
from weightsmith.settings.loading import load_recipe
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Zoo

BUDGET = "trained"
AS_GOOD = 0.01  # a faster way must reach the accuracy of the flagship up to so much
Row = dict[str, Any]


class Progress:
    """A line now and then, for a log."""

    def __init__(self, name: str) -> None:
        self._name, self._last, self._started = name, 0.0, time.monotonic()

    def stage(self, name: str, total: int) -> None:
        self._say(f"{name} ({total})")

    def advance(self, detail: str, count: int = 1, fresh: bool = True) -> None:
        if time.monotonic() - self._last > 20:
            self._say(detail)

    def note(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"{self._name} {self._last - self._started:7.0f} s  {text}", file=sys.stderr, flush=True)


def zoo_folder(work: Path, name: str) -> Path:
    return work / f"zoo-{name}"


def build(name: str, work: Path, dataset: str) -> list[Row]:
    """Train one of the zoos."""
    changes = [f"name=zoo-{name}", f"dataset={dataset}", *ZOOS[name]]
    run = run_pipeline(load_recipe(BASE, changes), zoo_folder(work, name), until="zoo", reporter=Progress(name))
    zoo = Zoo.open(run.zoo)
    return [{"kind": "zoo", "zoo": name, "changes": changes, "runs": len(zoo.runs), "networks": len(zoo)}]


def conduct(name: str, experiment: Experiment, work: Path, dataset: str) -> list[Row]:
    """Train and measure one experiment; what is measured are the rows of its report."""
    zoo = zoo_folder(work, experiment.zoo) / "zoo"
    if not (zoo / "zoo.json").exists():
        build(experiment.zoo, work, dataset)
    changes = experiment.overrides(name, str(zoo), dataset)
    run = run_pipeline(load_recipe(BASE, changes), work / name, reporter=Progress(name))
    about = {"kind": "experiment", "changes": changes, **headline_numbers(run.summary, BUDGET)}
    return [{"experiment": name, **row} for row in (about, *_measured(run.summary))]


def _measured(summary: Summary) -> list[Row]:
    rows = [{"kind": row.pop("row"), **row} for row in summary.rows()]
    if summary.wanted:
        rows.append({"kind": "calibration", "r2": calibration_r2(summary)})
    return rows


def rates(work: Path, dataset: str, repeats: int) -> list[Row]:
    """Networks a second, decoded, as synthesizers sample by themselves and in fewer steps; and how good they are."""
    rows, data = [], ws.load_dataset(dataset)
    for network, ways in RATES.items():
        for name, way in ways:
            synthesizer = Synthesizer.load(RunFolder.open(work / name).synthesizer(0, BUDGET))
            found = median_rate(partial(_sampled, synthesizer, way), repeats)
            weights = synthesizer.sample(**{**way, "n": 16}, seed=1)
            accuracies = [one.accuracy for one in ws.evaluate(synthesizer.architecture.build(0), weights, data.test)]
            accuracy = statistics.fmean(accuracies)
            rows.append({"kind": "rate", "network": network, "experiment": name, **way, "accuracy": accuracy, **found})
    return rows


def _sampled(synthesizer: Synthesizer, way: Mapping[str, Any], seed: int) -> int:
    return len(synthesizer.sample(**way, seed=seed))


def headline(found: dict[str, list[Row]]) -> dict[str, Any]:
    """The figures that the benchmark is about; how they spread stands in the rows."""

    def of(experiment: str, **wanted: Any) -> list[Row]:
        return [row for row in found[experiment] if wanted.items() <= row.items()]

    def set_of(experiment: str, kind: str) -> Row:
        return of(experiment, kind="set", set=kind, **({"name": BUDGET} if kind == "generated" else {}))[0]

    single, mlp, cnn = (set_of(name, "generated") for name in ("single", "mlp", "cnn"))
    given = {row["layer"]: row["gain"] for row in of("given", kind="given")}
    result = {
        "single_points_below": set_of("single", "training")["accuracy_mean"] - single["accuracy_min"],
        "mlp_points_below": set_of("mlp", "training")["accuracy_mean"] - mlp["accuracy_mean"],
        "mlp_nearest_ratio": mlp["nearest_ratio"],
        "cnn_generated_accuracy": cnn["accuracy_mean"],
        "cnn_nearest_ratio": cnn["nearest_ratio"],
        "calibration_r2": of("calibration", kind="calibration")[0]["r2"],
        "given_gain": max(given.values()),
        "given_layer": max(given, key=lambda layer: given[layer]),
    }
    for network in RATES:
        flagship, *others = [row for row in found["rates"] if row["network"] == network]
        as_good = [row for row in others if row["accuracy"] > flagship["accuracy"] - AS_GOOD]
        result[f"{network}_samples_per_second"] = max(row["median"] for row in (flagship, *as_good))
        result[f"{network}_flagship_samples_per_second"] = flagship["median"]
    return result


def main() -> None:
    options = parser("diffusion", __doc__ or "")
    options.add_argument("--repeats", type=int, default=5, help="how often a rate is measured")
    options.add_argument(
        "--parts",
        nargs="*",
        help=f"do these: zoo-{', zoo-'.join(ZOOS)}, {', '.join(EXPERIMENTS)}, rates; without it, all",
    )
    wanted = options.parse_args()
    work = WORK / "diffusion"
    work.mkdir(parents=True, exist_ok=True)
    names = [*(f"zoo-{name}" for name in ZOOS), *EXPERIMENTS, "rates"]
    kept = {name: work / f"part-{name}.json" for name in names}
    for name in names:
        if wanted.parts is None or name in wanted.parts:
            rows = _part(name, work, wanted)
            kept[name].write_text(json.dumps({"environment": describe_environment(), "rows": rows}))
    missing = [name for name, file in kept.items() if not file.exists()]
    if missing:
        print(f"still to be done: --parts {' '.join(missing)}")
        return
    documents = {name: json.loads(file.read_text()) for name, file in kept.items()}
    found = {name: document["rows"] for name, document in documents.items()}
    parts = [{"kind": "part", "part": name, **document["environment"]} for name, document in documents.items()]
    write_result(wanted.json, headline(found), [*parts, *(row for rows in found.values() for row in rows)])


def _part(name: str, work: Path, wanted: argparse.Namespace) -> list[Row]:
    if name.startswith("zoo-"):
        return build(name.removeprefix("zoo-"), work, wanted.dataset)
    if name == "rates":
        return rates(work, wanted.dataset, wanted.repeats)
    return conduct(name, EXPERIMENTS[name], work, wanted.dataset)


if __name__ == "__main__":
    main()
