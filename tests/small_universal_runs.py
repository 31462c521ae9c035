"""Universal runs of seconds on the digits, to be compared, interrupted and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe

TEXT = """\
name: universal
description: A universal synthesizer of seconds.
device: cpu
dataset: {name: digits, image_size: 8}
generator: {name: universal, options: {noise: 3, dim: 8, rank: 5, depth: 1, heads: 2}}
universal: {families: {mlp: 1, axial: 1}, pool: 3, architectures: 2, workers: 1, evaluated: 1, monitored: 1,
  monitor_every: 2}
training: {budgets: {trained: 4}, headline: trained, updates: 3, batch_size: 32, learning_rate: 3e-3, optimizer: adamw,
  schedule: cosine, warmup: 2, clip: 1.0, average: 0.9}
evaluation: {precision: fp32, batch_size: 500}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(TEXT, "universal", overrides)


PLAIN = "universal.monitored=0"  # of runs that are only trained: looking costs more than they do


def outcome(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """What must not depend on how often or by how many a run was made: the model, and the log but for its clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{name: value for name, value in line.items() if name not in ("seconds", "peak_rss_mb")} for line in lines]
    return (run / "synthesizer" / "model.safetensors").read_bytes(), log
