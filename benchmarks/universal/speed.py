"""How long a network of about a million parameters takes to write, once traced; and how long tracing takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.universal.budget import Budget
from benchmarks.universal.generators import Source
from benchmarks.universal.kept import Progress, Row
from benchmarks.universal.subjects import Subject
from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint

THREADS = (1, 2)
MILLION = {
    "mlp": ("mlp", {"hidden": [736, 512]}),
    "cnn": ("cnn", {"channels": [32, 64], "hidden": 320}),
}


def measured(source: Source, data: Dataset, budget: Budget) -> list[Row]:
    """Rows of writing, an architecture and number of threads each; and of tracing, over architectures and these."""
    progress, rows = Progress("speed", len(MILLION) * len(THREADS) + 1), []
    for name, (family, options) in MILLION.items():
        module = Architecture(family, data.input_shape, data.classes, options).build(0)
        blueprint = Blueprint.of(ParameterGraph.of(module, data.input_shape))
        parameters = sum(p.numel() for p in module.parameters())
        about = {"kind": "speed", "network": name, "family": family, "options": options, "parameters": parameters}
        for threads in THREADS:
            with using(threads):
                seconds = timed(lambda seed, blueprint=blueprint: _write(source, blueprint, seed), budget.repeats)
            rows.append({**about, "threads": threads, "median": statistics.median(seconds), "all": seconds})
            progress.done(f"{name}, threads {threads}: {rows[-1]['median']:.3f} s")
    seconds = [*_traced(data, budget)]
    rows.append({"kind": "tracing", "networks": len(seconds), "median": statistics.median(seconds), "all": seconds})
    progress.done(f"tracing: {rows[-1]['median']:.3f} s")
    return rows


def timed(do: Callable[[int], object], repeats: int) -> list[float]:
    """Seconds of every repeat; one more in front warms up and does not count."""
    found = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        do(repeat)
        found.append(time.perf_counter() - started)
    return found[1:]


@contextmanager
def using(threads: int) -> Iterator[None]:
    """So many threads in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(source: Source, blueprint: Blueprint, seed: int) -> None:
    with torch.no_grad():
        source.generator.weights(blueprint, torch.Generator().manual_seed(seed))


def _traced(data: Dataset, budget: Budget) -> Iterator[float]:
    """Seconds from a live module to its blueprint, of architectures that were not traced before."""
    with using(1):
        Subject.of("training", 0, data).traced  # noqa: B018  imports and caches are no part of it
        for index in range(budget.traced):
            yield Subject.of("unseen_size", index, data).traced.seconds
        for family, options in MILLION.values():
            module = Architecture(family, data.input_shape, data.classes, options).build(0)
            started = time.perf_counter()
            Blueprint.of(ParameterGraph.of(module, data.input_shape))
            yield time.perf_counter() - started
