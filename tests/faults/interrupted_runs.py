"""Runs to be interrupted, what a run comes to, and the program as a child that can be watched and signalled."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from conftest import default_signals
from damage import fill

from weightsmith.cli import main
from weightsmith.console import Console
from weightsmith.errors import EnvironmentFault, Interrupted
from weightsmith.interruption import check_interrupted
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.zoo import Zoo

# Convolutions, since their moments lie in another order in memory than on disk.
TEXT = """\
name: interrupted
description: A run long enough to be interrupted.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: target_cnn, options: {channels1: 2, channels2: 3, hidden: 4}}
zoo: {runs: 2, epochs: 8, precision: fp32, workers: 1, threads: 1}
generator: {options: {time_embedding: 8, hidden: 16, layers: 1}}
training: {budgets: {untrained: 0, half: 150, converged: 300}, headline: converged, learning_rate: 1e-3}
evaluation: {inits: 2, steps: 2, precision: fp32}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(TEXT, "interrupted", overrides)


def outcome(run: Path) -> tuple[Any, Any, Any]:
    """What must not depend on how often a run was interrupted: networks, generators, and the log but for its clock."""
    zoo = Zoo.open(run / "zoo")
    zoo.verify()
    networks = sorted((row.run, row.step, row.seed, json.dumps(row.metrics), row.sha256) for row in zoo.rows)
    return networks, *learned(run)


def learned(run: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The generators of a run, and their log but for its clock."""
    models = {str(p.relative_to(run)): p.read_bytes() for p in run.glob("synthesizer/*/*/model.safetensors")}
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    log = [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]
    return models, log


def leftovers(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.name.endswith(".tmp") or path.name.startswith("unfinished")]


def stages_refused(disk: Path, work: Callable[[], object], run: Path, made: Sequence[str]) -> set[str]:
    """Do work on a disk with a little more room each time, until it is done; what a run had made when it was refused.

    `made`: what a run makes, the last first. Every refusal is of the disk, says what to do, and leaves no half file.
    """
    reached, refusals = set(), []
    for leave in range(8, 400, 16):
        filler = fill(disk, leave * 1024)
        try:
            work()
            break
        except EnvironmentFault as error:
            refusals.append((error.message, error.remedy))
        finally:
            filler.unlink()
        assert not [path for path in leftovers(run) if path.suffix == ".tmp"]
        reached.add(next((name for name in made if (run / name).exists()), "nothing"))
    assert all(message.startswith("cannot write") for message, _ in refusals)
    assert all("free some disk space and run the same command again" in remedy for _, remedy in refusals)
    return reached


def start(work: Callable[[], object]) -> tuple[int, int]:
    """Run `work` in a forked child; its process number and the end of a pipe that reads its stderr."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _work(work, send)
    os.close(send)
    return child, receive


def start_program(*arguments: object, hold: str | None = None) -> tuple[int, int]:
    """`weightsmith ARGUMENTS` in a forked child, as `start`; having said a line with `hold`, it waits for its signal.

    So that no machine is so fast that the signal comes when the work is done.
    """

    def work() -> None:
        if hold is not None:
            _hold_after(hold)
        sys.argv = ["weightsmith", *map(str, arguments)]
        main()

    return start(work)


def _hold_after(text: str) -> None:
    show = Console._line

    def line(said: str) -> None:
        show(said)
        if text in said:
            with contextlib.suppress(Interrupted):
                for _ in range(60_000):
                    check_interrupted()
                    time.sleep(0.001)

    Console._line = staticmethod(line)  # type: ignore[method-assign]


def _work(work: Callable[[], object], send: int) -> NoReturn:
    status: object = 0
    try:
        default_signals()
        os.dup2(send, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", closefd=False) for descriptor in (1, 2))
        work()
    except SystemExit as exit:
        status = exit.code
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))
