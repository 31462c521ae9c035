"""The zoo engine: how fast it trains and evaluates against the usual loops, and what its store costs.

Rates compared with one another are measured in turns, `--repeats` times; medians are given, and the spread in `rows`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import ks_2samp

from benchmarks import zoo_cost, zoo_rates, zoo_store
from benchmarks.harness import WORK, in_own_process, parser, write_result
from benchmarks.zoo_rates import Way
from weightsmith.ensemble import choose_device, choose_precision
from weightsmith.environment import describe_environment
from weightsmith.pipeline import run_pipeline
from weightsmith.settings.loading import parse_recipe
from weightsmith.zoo import Zoo

KINDS = ("cnn", "mlp")
GROUP = 128
BUILD = """\
name: benchmark
description: Networks trained as a zoo.
device: cpu
dataset: {name: DATASET}
architecture: ARCHITECTURE
zoo: {runs: RUNS, epochs: EPOCHS, batch_size: 64, precision: PRECISION, workers: WORKERS, threads: 1}
"""
MLP, CNN = "{name: mlp, options: {hidden: [32, 32]}}", "target_cnn"


def training_ways(precision: str) -> list[Way]:
    """Everything whose rate is measured; of several usual loops, the best is what ours is compared with."""
    found = [
        Way("cnn plain loop", zoo_rates.plain_loop, ("cnn",), 1, 2),
        Way("cnn ours", zoo_rates.ours, ("cnn", "loop", 1, precision, False), 2, 1),
        Way("cnn ours fp32", zoo_rates.ours, ("cnn", "loop", 1, "fp32", False), 2, 1),
        Way("cnn DataLoader, in the process", zoo_rates.loader_loop, ("cnn", 0), 1, 2),
        Way("cnn DataLoader, 2 workers", zoo_rates.loader_loop, ("cnn", 2), 1, 2),
        Way("mlp plain loop, 1 thread", zoo_rates.plain_loop, ("mlp",), 1, 1),
        Way("mlp plain loop, 2 threads", zoo_rates.plain_loop, ("mlp",), 1, 2),
        Way("mlp two plain loops", zoo_rates.plain_loop, ("mlp",), 2, 1),
        Way("mlp ours, own batches", zoo_rates.ours, ("mlp", "stacked", GROUP, precision, False), 2, 1),
        Way("mlp ours, shared batches", zoo_rates.ours, ("mlp", "stacked", GROUP, precision, True), 2, 1),
        Way("mlp ours fp32, own batches", zoo_rates.ours, ("mlp", "stacked", GROUP, "fp32", False), 2, 1),
    ]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return [*found, Way("matrix product peak, MFLOP/s", zoo_rates.gemm_peak, (dtype,), 2, 1)]


def evaluation_ways() -> list[Way]:
    found = []
    for kind in KINDS:
        found += [
            Way(f"{kind} plain evaluation, batch {batch}", zoo_rates.plain_evaluation, (kind, batch), 1, 2)
            for batch in (64, 256, 1000)
        ]
        found.append(
            Way(f"{kind} our evaluation", zoo_rates.our_evaluation, (kind, 8 if kind == "cnn" else GROUP), 1, 2)
        )
    return found


def rates(ways: Sequence[Way], wanted: argparse.Namespace) -> dict[str, list[float]]:
    """Every rate, in turns, so that what else this machine does meets all alike."""
    found: dict[str, list[float]] = {}
    for _ in range(wanted.repeats):
        for way in ways:
            found.setdefault(way.name, []).append(zoo_rates.rate(way, wanted.seconds, wanted.dataset))
            print(f"  {way.name:40} {found[way.name][-1]:14,.1f}", flush=True)
    return found


def speed_headline(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Ratios of medians; against the best of the usual loops of a kind."""
    median = {name: statistics.median(values) for name, values in found.items()}

    def best(*beginnings: str) -> float:
        return max(value for name, value in median.items() if name.startswith(beginnings))

    peak = median["matrix product peak, MFLOP/s"]
    result = {
        "cnn_speedup": median["cnn ours"] / median["cnn plain loop"],
        "cnn_dataloader_speedup": median["cnn ours"] / best("cnn DataLoader"),
        "mlp_speedup": median["mlp ours, own batches"] / best("mlp plain loop"),
        "mlp_two_process_speedup": median["mlp ours, own batches"] / median["mlp two plain loops"],
        "mlp_shared_batches_speedup": median["mlp ours, shared batches"] / best("mlp plain loop"),
        "cnn_gemm_fraction": median["cnn ours"] * zoo_rates.mflop_a_step("cnn") / peak,
        "mlp_gemm_fraction": median["mlp ours, own batches"] * zoo_rates.mflop_a_step("mlp") / peak,
    }
    for kind in KINDS:
        result[f"{kind}_evaluation_speedup"] = median[f"{kind} our evaluation"] / best(f"{kind} plain evaluation")
    return result


def recipe_text(dataset: str, architecture: str, runs: int, epochs: int, precision: str, workers: int = 2) -> str:
    changes = {"DATASET": dataset, "ARCHITECTURE": architecture, "RUNS": runs, "EPOCHS": epochs}
    text = BUILD
    for name, value in {**changes, "PRECISION": precision, "WORKERS": workers}.items():
        text = text.replace(name, str(value))
    return text


def precision_rows(work: Path, dataset: str) -> list[dict[str, Any]]:
    """The accuracies of the same runs in bfloat16 and in float32, and whether they come from one distribution."""
    rows = []
    for kind, architecture, runs, epochs in (("mlp", MLP, 128, 3), ("cnn", CNN, 12, 1)):
        found = {}
        for precision in ("bf16", "fp32"):
            folder = work / f"precision-{kind}-{precision}"
            run = run_pipeline(
                parse_recipe(recipe_text(dataset, architecture, runs, epochs, precision)), folder, until="zoo"
            )
            zoo = Zoo.open(run.zoo)
            found[precision] = [float(row.metrics["accuracy"] or 0.0) for row in zoo.select(step=epochs)]
        test = ks_2samp(found["bf16"], found["fp32"])
        rows.append(
            {"kind": "precision", "network": kind, "runs": runs, "epochs": epochs, "ks_p_value": float(test.pvalue)}
        )
        for precision, values in found.items():
            rows[-1][f"{precision}_mean_accuracy"] = statistics.mean(values)
            rows[-1][f"{precision}_sd_accuracy"] = statistics.stdev(values)
    return rows


def store_rows(work: Path, dataset: str, precision: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for kind, architecture, runs in (("mlp", MLP, GROUP), ("cnn", CNN, 2)):
        folder = work / f"overhead-{kind}"
        shutil.rmtree(folder, ignore_errors=True)
        text = recipe_text(dataset, architecture, runs, 5, precision, workers=1)
        rows.append({"kind": "store overhead", "network": kind, **zoo_store.overhead(text, folder)})
    resumes = [zoo_store.resume(work, group) for group in (GROUP, 1)]
    rows += [{"kind": "resume", **found} for found in resumes]
    limit = zoo_store.LIMIT_MB
    peaks = []
    for megabytes in (4 * limit, limit):
        path = zoo_store.large_zoo(work, megabytes)
        peaks.append(in_own_process("benchmarks.zoo_store", "iterate", str(path)))
        rows.append({"kind": "iteration", "limit_mb": limit, **peaks[-1]})
    reads = zoo_store.random_reads(zoo_store.large_zoo(work, 4 * limit))
    rows.append({"kind": "random reads", **reads})
    headline = {
        "store_overhead": max(row["overhead"] for row in rows if row["kind"] == "store overhead"),
        "resume_seconds": max(statistics.median(found["seconds"]) for found in resumes),
        "rss_growth": peaks[0]["peak_mb"] / peaks[1]["peak_mb"],
        "random_read_fraction": reads["mb_per_second"] / reads["page_cache_mb_per_second"],
    }
    return headline, rows


def parts(wanted: argparse.Namespace, work: Path) -> dict[str, Callable[[], Any]]:
    """What is measured, in pieces that can be taken up again: a quarter of an hour each at most."""
    precision = choose_precision("auto", choose_device("cpu"))
    return {
        "training": lambda: rates(training_ways(precision), wanted),
        "evaluation": lambda: rates(evaluation_ways(), wanted),
        "store": lambda: store_rows(work, wanted.dataset, precision),
        "precision": lambda: precision_rows(work, wanted.dataset),
        "cost": lambda: zoo_cost.rows(work, wanted.dataset, precision),
    }


def main() -> None:
    options = parser("zoo", __doc__ or "")
    options.add_argument("--repeats", type=int, default=3, help="how often every rate is measured")
    options.add_argument("--seconds", type=float, default=4.0, help="how long a rate is measured")
    options.add_argument(
        "--parts", nargs="*", help="measure these anew: training, evaluation, store, precision, cost; without it, all"
    )
    wanted = options.parse_args()
    work = WORK / "zoo"
    work.mkdir(parents=True, exist_ok=True)
    kept = {name: work / f"part-{name}.json" for name in parts(wanted, work)}
    for name, measure in parts(wanted, work).items():
        if wanted.parts is None or name in wanted.parts:
            kept[name].write_text(json.dumps({"environment": describe_environment(), "found": measure()}))
    missing = [name for name, file in kept.items() if not file.exists()]
    if missing:
        print(f"still to be measured: --parts {' '.join(missing)}")
        return
    documents = {name: json.loads(file.read_text()) for name, file in kept.items()}
    found = {name: document["found"] for name, document in documents.items()}
    store, stored = found["store"]
    measured = [
        {"kind": "rate", "what": name, "unit": _unit(name), "median": statistics.median(values), "all": values}
        for name, values in {**found["training"], **found["evaluation"]}.items()
    ]
    commits = [{"kind": "part", "part": name, **document["environment"]} for name, document in documents.items()]
    rows = [*commits, *measured, *stored, *found["precision"], *found["cost"]]
    precision = choose_precision("auto", choose_device("cpu"))
    write_result(
        wanted.json,
        {**speed_headline({**found["training"], **found["evaluation"]}), **store, "precision": precision},
        rows,
    )
    zoo_cost.plot(rows, Path("docs/images/zoo-cost.png"))


def _unit(name: str) -> str:
    if name.startswith("matrix"):
        return "MFLOP/s"
    return (
        "images of single networks a second" if "evaluation" in name else "steps of single networks a second, batch 64"
    )


if __name__ == "__main__":
    main()
