"""Zoos that are built while they are killed: what is built, what it must come to, and what is looked at in between."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import leftovers
from kill_counts import Count
from through_kills import Moments, ended_through_kills

from weightsmith.pipeline import run_pipeline
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.zoo import Zoo

TEXT = """\
name: killed
description: A zoo that is built while it is killed.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [4]}}
zoo: {runs: 6, epochs: 8, precision: fp32, method: stacked, group_size: 3, workers: 1, threads: 1}
vary:
  learning_rate: {low: 1e-3, high: 1e-2, scale: log}
"""
CASES = {
    "CNNs one by one": [
        *("zoo.runs=2", "zoo.epochs=6"),
        "architecture={name: target_cnn, options: {channels1: 2, channels2: 3, hidden: 4}}",
    ],
    "stacked MLPs of many learning rates": [],
    "stacked MLPs captured between epochs": ["zoo.capture_steps=3", "zoo.optimizer=sgd", "zoo.shared_batches=true"],
    "stacked MLPs of which some diverge": [
        *("zoo.capture_steps=4", "zoo.optimizer=sgd", "zoo.batch_size=64"),
        "vary.learning_rate=[0.01, 0.02, 1e30]",
    ],
}

Facts = Mapping[tuple[Any, int], str]
NOTHING: Facts = {}
COUNTED = ("builds", "lost", "different", "ghosts", "orphans", "leftovers")


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(TEXT, "killed", overrides)


def facts(zoo: Zoo) -> Facts:
    """Everything that is known of each network, its weights by their hash."""
    return {
        (row.run, row.step): json.dumps([row.seed, row.metrics, row.extra, row.sha256], sort_keys=True)
        for row in zoo.rows
    }


def whole_of(wanted: Recipe, folder: Path) -> Facts:
    """What the build comes to that nobody interrupts."""
    return facts(Zoo.open(run_pipeline(wanted, folder, until="zoo").zoo))


def look(zoo: Path, whole: Facts, before: Facts, count: Count) -> Facts:
    """Open a zoo whose builder may have been killed, read every byte, and count what is wrong with it."""
    if not (zoo / "zoo.json").exists():
        count["lost"] += len(before)
        return {}
    opened = Zoo.open(zoo)
    opened.verify()
    found = facts(opened)
    networks, wanted = (Counter(run for run, _ in names) for names in (found, whole))
    count["lost"] += len(before.keys() - found.keys())
    count["ghosts"] += len(found.keys() - whole.keys()) + sum(n for run, n in networks.items() if n != wanted[run])
    count["different"] += sum(1 for name in found.keys() & whole.keys() if found[name] != whole[name])
    return found


def finish(run: Path, whole: Facts, before: Facts, count: Count) -> None:
    """Look at a build that has come to its end: all is there, and nothing else."""
    found = look(run / "zoo", whole, before, count)
    count["lost"] += len(whole.keys() - found.keys())
    count["orphans"] += len(list((run / "zoo" / "segments").iterdir())) - logged(run / "zoo")
    count["leftovers"] += len(leftovers(run))
    count["builds"] += 1


def logged(zoo: Path) -> int:
    """How many segments the log of a zoo holds."""
    log = zoo / "records.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def build_through_kills(wanted: Recipe, whole: Facts, folder: Path, kills: int, longest: float) -> Count:
    """Build zoos one after the other, each killed on its way as often as it happens, until there were `kills`."""
    count, before = Count(*COUNTED), dict[Path, Facts]()

    def work(run: Path) -> None:
        run_pipeline(wanted, run, until="zoo")

    def amid(run: Path) -> bool:
        before[run] = look(run / "zoo", whole, before.get(run, NOTHING), count)
        return any((run / "zoo").glob("unfinished/run-*"))

    for run in ended_through_kills(work, folder, count, kills, Moments(longest, kills), amid):
        finish(run, whole, before.get(run, NOTHING), count)
    return count


def fork_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make worker processes that need not import again; those that do are in other tests of their rows."""
    context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: context("fork"))
