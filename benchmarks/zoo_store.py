"""What the store costs: its share of a build, opening a large zoo, memory while one is read, and random reads.

`benchmarks.zoo` runs `python -m benchmarks.zoo_store iterate ZOO` and `... resume RUN GROUP` in their own processes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.harness import in_own_process, peak_rss_mb
from weightsmith.architectures import Architecture
from weightsmith.engines.local import LocalEngine
from weightsmith.layout import Weights
from weightsmith.pipeline import run_pipeline
from weightsmith.pipeline.planning import ZooPlan
from weightsmith.pipeline.stages import build_stage
from weightsmith.settings.loading import parse_recipe
from weightsmith.zoo import RowInfo, Zoo
from weightsmith.zoo.unfinished import StateFile
from weightsmith.zoo.writer import ZooWriter

LIMIT_MB = 256
RESUMED = """\
name: resumed
description: Ten thousand small networks, of which none is missing.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 10000, epochs: 5, precision: bf16, method: stacked, group_size: GROUP, workers: 1, threads: 1}
"""


def overhead(recipe: str, folder: Path) -> dict[str, Any]:
    """Build a zoo in this process and say which share of the time went into the store and the saved states."""
    spent: dict[str, float] = {}

    def timed(owner: type, name: str) -> Any:
        method = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return mock.patch.object(owner, name, wrapper)

    started = time.perf_counter()
    with timed(ZooWriter, "append"), timed(StateFile, "offer"):
        run = run_pipeline(parse_recipe(recipe), folder, until="zoo")
    seconds = time.perf_counter() - started
    zoo = Zoo.open(run.zoo)
    return {
        "networks": len(zoo.runs),
        "rows": len(zoo),
        "mb": zoo.bytes / 1e6,
        "seconds": seconds,
        "append_seconds": spent["append"],
        "state_seconds": spent.get("offer", 0.0),
        "overhead": sum(spent.values()) / seconds,
    }


def resume(work: Path, group: int) -> dict[str, Any]:
    """Seconds until a complete zoo of 10,000 networks with six checkpoints each is found complete."""
    folder = work / f"resume-{group}"
    recipe = parse_recipe(RESUMED.replace("GROUP", str(group)))
    if not (folder / "run.json").exists():
        _fill(recipe, folder)
    measured = [in_own_process("benchmarks.zoo_store", "resume", str(folder), str(group)) for _ in range(3)]
    return {"networks": 10_000, "segments": measured[0]["segments"], "seconds": [m["seconds"] for m in measured]}


def _fill(recipe: Any, folder: Path) -> None:
    """The zoo that the recipe would build, but for its weights: what is resumed is not what is in them."""
    from weightsmith.pipeline import RunFolder

    run = RunFolder.prepare(folder, recipe)
    plan = ZooPlan(recipe, True)
    Zoo.create(run.zoo, {"made by": "benchmarks.zoo"})
    layout = plan.specs[0].architecture.layout
    numbers = {"accuracy": 0.9, "loss": 0.3, "train_loss": 0.3}
    extra = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 128}
    extra |= {"architecture": "mlp", "dataset": "digits"}
    with Zoo.writer(run.zoo) as writer:
        for task in plan.tasks:
            rows = [RowInfo(s.run, i, s.seed(0), numbers, extra) for s in task.runs for i in range(6)]
            writer.append(Weights.generated(layout, torch.randn(len(rows), layout.parameters)), rows, {"made by": "x"})


def large_zoo(work: Path, megabytes: int) -> Path:
    """A zoo of networks of the note's size (1.7 MB each) that comes to so many MB."""
    path = work / f"large-{megabytes}"
    if (path / "zoo.json").exists():
        return path
    layout = Architecture("target_cnn", (1, 28, 28), 10).layout
    count = megabytes * 1_000_000 // (4 * layout.parameters)
    Zoo.create(path, {"made by": "benchmarks.zoo"})
    with Zoo.writer(path) as writer:
        for start in range(0, count, 6):
            rows = [RowInfo(start // 6, step, start) for step in range(6)]
            writer.append(Weights.generated(layout, torch.randn(6, layout.parameters)), rows, {"made by": "benchmark"})
    return path


def random_reads(path: Path, reads: int = 200) -> dict[str, float]:
    """MB/s of rows in random order, checked by hash, and of the same bytes straight from the page cache."""
    zoo = Zoo.open(path)
    rng = np.random.default_rng(0)
    rows = [zoo.rows[i] for i in rng.permutation(len(zoo))[:reads]]
    size = sum(zoo.read([row]).vectors.nbytes for row in rows)  # once, so that all of them are in the page cache
    seconds = _time(lambda: [zoo.read([row]) for row in rows])
    files = {row.segment: os.open(path / "segments" / row.segment, os.O_RDONLY) for row in rows}
    width = size // len(rows)
    starts = {row: (path / "segments" / row.segment).stat().st_size - (6 - row.position) * width for row in rows}
    plain = _time(lambda: [os.pread(files[row.segment], width, starts[row]) for row in rows])
    for file in files.values():
        os.close(file)
    return {"mb_per_second": size / seconds / 1e6, "page_cache_mb_per_second": size / plain / 1e6}


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "iterate":
        zoo = Zoo.open(path)
        total = sum(float(weights.vectors.sum()) for weights, _ in zoo.batches())
        print(json.dumps({"rows": len(zoo), "mb": zoo.bytes / 1e6, "peak_mb": peak_rss_mb(), "sum": total}))
        return
    from weightsmith.pipeline import RunFolder
    from weightsmith.reporter import Silent

    recipe = parse_recipe(RESUMED.replace("GROUP", sys.argv[3]))
    started = time.perf_counter()
    run = RunFolder.prepare(path, recipe)
    build_stage(run, Silent(), lambda resolved: LocalEngine(1, 1))
    print(json.dumps({"seconds": time.perf_counter() - started, "segments": Zoo.open(run.zoo).segments}))


if __name__ == "__main__":
    main()
