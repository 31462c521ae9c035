"""Folders of small checkpoints of every kind that can be imported, and what an imported zoo says."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightsmith.zoo import Row, Zoo

PARTS = [
    ("sequential/conv2d/bias:0", (2,)),
    ("sequential/conv2d/kernel:0", (3, 3, 1, 2)),
    ("sequential/dense/bias:0", (3,)),
    ("sequential/dense/kernel:0", (2, 3)),
]
WIDTH = 2 + 18 + 3 + 6


def state(seed: int, width: int = 3) -> dict[str, Tensor]:
    """A network of two linear layers with all that a state dict may hold: weights, biases, a norm, a counter."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 2)).state_dict()


def nested(seed: int) -> dict[str, Any]:
    """What training scripts save: the state dict, and beside it numbers, text and containers."""
    module = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    return {
        "epoch": 3,
        "best": 0.5,
        "name": "é",
        "nothing": None,
        "model": {"net.state": state(seed)},
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "args": {"sizes": (1, 2), "tags": {"a"}, "device": torch.device("cpu"), "shape": torch.Size([2])},
    }


def save(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(document, path)
    return path


def make_runs(folder: Path, runs: int = 2, steps: Sequence[int] = (0, 1, 5)) -> Path:
    """`run_R/epoch_S-acc0.SR.pt`, and a file that is no checkpoint."""
    for run in range(runs):
        for step in steps:
            save(folder / f"run_{run}" / f"epoch_{step}-acc0.{step}{run}.pt", state(10 * run + step))
    (folder / "README.md").write_text("mine")
    return folder


def write_table(path: Path, lines: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Path:
    text = io.StringIO()
    table = csv.DictWriter(text, columns or list(lines[0]))
    table.writeheader()
    table.writerows(lines)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def make_arrays(folder: Path, networks: int = 6, zipped: bool = True) -> np.ndarray:
    """Arrays as the Small CNN Zoo is published, with three checkpoints a run."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(size=(networks, WIDTH)).astype(np.float32)
    np.save(folder / "weights.npy", values)
    lines, start = [], 0
    for name, shape in PARTS:
        size = int(np.prod(shape))
        lines.append({"varname": name, "start_idx": start, "end_idx": start + size, "size": size, "shape": str(shape)})
        start += size
    write_table(folder / "layout.csv", lines)
    facts = [
        {
            "": f"/x/{i // 3}/permanent_ckpt-{i % 3}",
            "config.activation": "relu",
            "config.learning_rate": 0.01,
            "config.random_seed": 42,
            "modeldir": f"/x/{i // 3}",
            "step": [0, 1, 86][i % 3],
            "test_accuracy": i / 10,
            "laststep": i % 3 == 2,
        }
        for i in range(networks)
    ]
    write_table(folder / f"metrics.csv{'.gz' if zipped else ''}", facts)
    return values


def make_trial(
    folder: Path, checkpoints: Sequence[str], results: Sequence[Mapping[str, Any]], name: str = "checkpoints"
) -> Path:
    """One model's folder as Ray Tune leaves it, with pickles that must never be opened."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps({"seed": 4, "optim::lr": 0.1, "model": {"type": "CNN"}}))
    (folder / "params.pkl").write_bytes(b"not a pickle")
    (folder / "result.json").write_text("".join(json.dumps(line) + "\n" for line in results))
    for index, checkpoint in enumerate(checkpoints):
        save(folder / checkpoint / name, state(index))
        save(folder / checkpoint / "optimizer", {"state": {}})
    return folder


def facts(zoo: Zoo | Path, but: Sequence[str] = ("source", "source_sha256")) -> list[tuple[Any, ...]]:
    """What must come back: every row's run, step, seed, metrics, extra and bytes."""
    rows: Sequence[Row] = (zoo if isinstance(zoo, Zoo) else Zoo.open(zoo)).rows
    return [
        (r.run, r.step, r.seed, dict(r.metrics), {k: v for k, v in r.extra.items() if k not in but}, r.layout, r.sha256)
        for r in rows
    ]


def segments(zoo: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((zoo / "segments").glob("*"))}
