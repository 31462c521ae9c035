"""What a zoo costs in seconds and bytes, against how many networks it holds and how large they are."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.ensemble import TrainingPlan, candidates, choose_device, measure_rate, worth_trying
from weightsmith.pipeline import run_pipeline
from weightsmith.settings.loading import parse_recipe
from weightsmith.zoo import Zoo

EPOCHS = 5
BATCH = 64
COUNTS = {"mlp": (1, 8, 64, 256), "cnn": (1, 2, 8)}
SIZES: dict[str, list[dict[str, Any]]] = {
    "mlp": [{"hidden": hidden} for hidden in ([8], [32, 32], [64, 64], [128, 128], [256, 256], [512, 512])],
    "target_cnn": [{"channels1": c, "channels2": 2 * c, "hidden": 4 * c} for c in (4, 8, 16, 32, 48)],
}
BUILD = """\
name: cost
description: How long so many networks take, all told.
device: cpu
dataset: DATASET
architecture: ARCHITECTURE
zoo: {runs: RUNS, epochs: EPOCHS, batch_size: 64, precision: PRECISION}
"""


PAPER = (10**3, 10**4, 10**5, 10**6)  # networks, on paper
PRICE = 0.04  # US dollars a core-hour, assumed: about what the large clouds ask for a virtual core on demand
CLUSTER_CORES = 64


def rows(work: Path, dataset: str, precision: Any) -> list[dict[str, Any]]:
    """Measured builds of growing numbers of networks, rates over growing networks, and what follows for more."""
    built = _by_count(work, dataset, precision)
    return [*built, *_by_size(dataset, precision), *on_paper(built)]


def on_paper(built: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bytes, seconds and money for up to a million networks, in proportion to the largest build that was measured."""
    found = []
    for kind in COUNTS:
        largest = max((row for row in built if row["network"] == kind), key=lambda row: row["networks"])
        core_seconds = largest["seconds"] * largest["workers"] * largest["threads"] / largest["networks"]
        for count in PAPER:
            core_hours = core_seconds * count / 3600
            found.append({
                "kind": "on paper", "network": kind, "networks": count, "core_hours": core_hours,
                "gigabytes": largest["bytes_a_network"] * count / 1e9, "hours_on_2_cores": core_hours / 2,
                f"hours_on_{CLUSTER_CORES}_cores": core_hours / CLUSTER_CORES, "us_dollars": core_hours * PRICE,
                "us_dollars_a_core_hour": PRICE,
            })  # fmt: skip
    return found


def _by_count(work: Path, dataset: str, precision: str) -> list[dict[str, Any]]:
    """Whole builds, from the command to the sealed zoo: measuring, starting workers, training, validation, store."""
    found = []
    for kind, architecture in (("mlp", "{name: mlp, options: {hidden: [32, 32]}}"), ("cnn", "target_cnn")):
        for count in COUNTS[kind]:
            folder = work / f"cost-{kind}-{count}"
            shutil.rmtree(folder, ignore_errors=True)
            text = BUILD.replace("DATASET", dataset).replace("ARCHITECTURE", architecture).replace("RUNS", str(count))
            started = time.perf_counter()
            run = run_pipeline(
                parse_recipe(text.replace("EPOCHS", str(EPOCHS)).replace("PRECISION", precision)), folder, until="zoo"
            )
            seconds, zoo = time.perf_counter() - started, Zoo.open(run.zoo)
            settings = run.recipe.zoo
            found.append({
                "kind": "build", "network": kind, "networks": count, "epochs": EPOCHS, "seconds": seconds,
                "seconds_a_network": seconds / count, "bytes_a_network": zoo.bytes / count,
                "method": settings.method, "group_size": settings.group_size,
                "workers": settings.workers, "threads": settings.threads,
            })  # fmt: skip
            print(f"  {kind} x {count}: {seconds:.1f} s", flush=True)
            shutil.rmtree(folder)
    return found


def _by_size(dataset: str, precision: Any) -> list[dict[str, Any]]:
    """Seconds of one core for one network of each size, by the fastest way; its rate is measured for a moment."""
    data, device = load_dataset(dataset), choose_device("cpu")
    steps = EPOCHS * -(-len(data.train) // BATCH)
    plan = TrainingPlan(EPOCHS, BATCH, "adam", precision)
    found = []
    for name, sizes in SIZES.items():
        for options in sizes:
            form = Architecture(name, data.input_shape, data.classes, options)
            module = form.build(0)
            measured = [
                measure_rate(method, size, 1, module, data.train, plan, device, seconds=1.0)
                for method, size in candidates(module, worth_trying(device), 128)
            ]
            best = max(measured, key=lambda rate: rate.steps)
            found.append({
                "kind": "size", "network": name, "options": options, "parameters": form.layout.parameters,
                "method": best.method, "group_size": best.group_size,
                "core_seconds_a_network": steps / best.steps,
                "bytes_a_network": 4 * form.layout.parameters * (EPOCHS + 1),
            })  # fmt: skip
    return found


def plot(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Cost against the number of networks (measured builds) and against their size (one core, per network)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = {"mlp": "784-32-32-10 (26,506 parameters)", "cnn": "the note's CNN (421,642)"}
    for kind, label in labels.items():
        built = [row for row in found if row["kind"] == "build" and row["network"] == kind]
        left.loglog([r["networks"] for r in built], [r["seconds"] for r in built], "o-", label=label)
    left.set(xlabel="networks, 5 epochs of MNIST each", ylabel="seconds of the whole build, 2 cores")
    for name, label in (("mlp", "multilayer perceptrons"), ("target_cnn", "convolutional")):
        sized = sorted(
            (r for r in found if r["kind"] == "size" and r["network"] == name), key=lambda r: r["parameters"]
        )
        right.loglog([r["parameters"] for r in sized], [r["core_seconds_a_network"] for r in sized], "o-", label=label)
    right.set(xlabel="parameters of one network", ylabel="core-seconds a network, 5 epochs")
    left.set_ylim(bottom=2)  # room for the legend
    for axis, place in ((left, "lower right"), (right, "upper left")):
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(frameon=False, loc=place)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
