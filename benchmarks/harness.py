"""What every benchmark shares: its result file, a trained zoo to work on, and measuring in a process of its own."""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightsmith.environment import command_line, describe_environment
from weightsmith.pipeline import run_pipeline
from weightsmith.settings.loading import load_recipe
from weightsmith.zoo import Zoo

RESULTS = Path(__file__).parent / "results"
WORK = Path("runs") / "benchmarks"


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks understand."""
    result = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    result.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the result is written")
    result.add_argument("--dataset", default="mnist", help="mnist, or digits where MNIST cannot be had")
    return result


def write_result(path: Path, headline: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write `{schema, headline, rows, environment}` and print the headline."""
    environment = {**describe_environment(), "command": command_line()}
    document = {"schema": "weightsmith.benchmark/1", "headline": headline, "rows": rows, "environment": environment}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    for key, value in headline.items():
        print(f"{key:40} {value:.6g}" if isinstance(value, float) else f"{key:40} {value}")


def trained_zoo(dataset: str) -> Zoo:
    """The zoo of the recipe mnist-trajectory, trained once and kept in the (ignored) work folder."""
    folder = WORK / f"trajectory-{dataset}"
    if not (folder / "zoo" / "zoo.json").exists() or len(Zoo.open(folder / "zoo").runs) < 3:
        run_pipeline(load_recipe("mnist-trajectory", [f"dataset={dataset}"]), folder, until="zoo")
    return Zoo.open(folder / "zoo")  # without the images: a process that measures its memory holds only the weights


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m module arguments`, which prints one JSON object on its last line: its peak memory is its own."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median_rate(do: Callable[[int], int], repeats: int, seconds: float = 2.0) -> dict[str, Any]:
    """How many a second `do(seed)` makes, which returns how many it made: the median over repeats, and all of them."""
    do(0)
    found = []
    for repeat in range(repeats):
        made, calls, started = 0, 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - started < seconds:
            made, calls = made + do(1000 * repeat + calls), calls + 1
        found.append(made / (time.perf_counter() - started))
    return {"median": statistics.median(found), "all": found}


def peak_rss_mb() -> float:
    """The peak resident memory of this process so far, in MB (10^6 bytes).

    On Linux that of its own program: what `getrusage` says includes the process that it was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6  # type: ignore[index]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
