"""A zoo of a few hundred bytes, what it must contain, and children to be killed: shared by the fault tests."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from weightsmith.layout import Layout, TensorSpec, Weights
from weightsmith.zoo import RowInfo, Zoo

LAYOUT = Layout((TensorSpec("w", (2, 2), "float32", "weight"), TensorSpec("n", (), "int64", "buffer")))
PROVENANCE = {"command": "test"}
NOBODY = 65534


def network(run: int, rows: int = 1) -> Weights:
    """Networks whose every value follows from `run`."""
    vectors = torch.arange(rows * 4, dtype=torch.float32).reshape(rows, 4) + 100 * run
    return Weights(LAYOUT, vectors, {"n": torch.full((rows,), run)})


def info(run: int, step: int = 0) -> RowInfo:
    return RowInfo(run, step, seed=run, metrics={"accuracy": 0.5})


def make_small_zoo(path: Path) -> Zoo:
    """Two segments; the second quarantines a row."""
    Zoo.create(path, {"who": "test"})
    with Zoo.writer(path) as writer:
        writer.append(network(0, 2), [info(0, 0), info(0, 1)], PROVENANCE)
        bad = network(1, 2)
        bad.vectors[1, 2] = float("nan")
        writer.append(bad, [info(1), info(2)], PROVENANCE)
    return Zoo.open(path)


def content(path: Path) -> Any:
    """Everything that a zoo says, each byte of it verified."""
    zoo = Zoo.open(path)
    zoo.verify()
    weights = zoo.read(zoo.rows)
    values = (weights.vectors.tolist(), weights.integers["n"].tolist())
    provenance = [zoo.provenance(row) for row in zoo.rows]
    return zoo.id, zoo.about, list(zoo.rows), values, provenance, zoo.quarantined, list(zoo.layouts.items())


def zoo_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock")


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Run `work` in a forked child; its exit status and the traceback of what it raised."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            work()
        except BaseException:
            status = 1
            os.write(send, traceback.format_exc()[-4000:].encode())
        os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def as_nobody(work: Callable[[], object]) -> Callable[[], object]:
    """`work` as a user who may write nowhere, for a child of root."""

    def run() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    return run


def kill_while(work: Callable[[], object], seconds: float, begun: Path | None = None) -> None:
    """Run `work` in a forked child and `kill -9` it after `seconds`, counted from when the file `begun` is there."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    while begun is not None and not begun.exists():
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        raise RuntimeError(f"the child ended by itself with {status}, before it was killed")
