"""What the engines are given to do in their tests; workers import it by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from weightsmith.errors import ArtifactError, BadInput, Diverged, EnvironmentFault, Interrupted

Report = Callable[[Any], None]
Check = Callable[[], None]

ERRORS = {
    "BadInput": BadInput("the message", "the remedy"),
    "ArtifactError": ArtifactError("the message", "the remedy"),
    "EnvironmentFault": EnvironmentFault("the message", "the remedy"),
    "Diverged": Diverged("the message", "the remedy"),
    "Interrupted": Interrupted(signal.SIGTERM, "the message", "the remedy"),
}


class OddError(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@dataclass
class Counted:
    """A task that counts how often it was sent somewhere."""

    number: int
    sent: ClassVar[int] = 0

    def __getstate__(self) -> dict[str, int]:
        Counted.sent += 1
        return {"number": self.number}


def square(task: int, report: Report, check: Check) -> int:
    check()
    report(("begun", task))
    report(("done", task))
    return task * task


def number_of(task: Counted, report: Report, check: Check) -> int:
    return task.number


def ones(task: int, report: Report, check: Check) -> torch.Tensor:
    return torch.ones(task)


def threads(task: int, report: Report, check: Check) -> int:
    return torch.get_num_threads()


def fail(task: str, report: Report, check: Check) -> None:
    if task == "OddError":
        raise OddError("very", "odd")
    raise ERRORS[task] if task in ERRORS else ValueError(task)


def see(task: str, report: Report, check: Check) -> tuple[str | None, str]:
    """An environment variable and the current folder, where the work is done."""
    return os.environ.get(task), str(Path.cwd())


def wait_until_told(folder: Path, report: Report, check: Check) -> str:
    """Wait for the file `go`, which whoever hears the event may make."""
    report(("waiting", folder.name))
    while not (folder / "go").exists():
        check()
        time.sleep(0.01)
    return folder.name


def wait_until_stopped(task: tuple[Path, int], report: Report, check: Check) -> int:
    """Number 0 comes back at once; the others note that they began, and that they were told to stop."""
    folder, number = task
    if number == 0:
        return number
    (folder / f"begun-{number}").touch()
    report(("begun", number))
    try:
        for _ in range(6000):
            check()
            time.sleep(0.01)
    except Interrupted:
        (folder / f"stopped-{number}").touch()
        raise
    return number


def die(task: tuple[Path, int], report: Report, check: Check) -> str:
    """Kill this process so many times, counted in a file; then come back."""
    counter, times = task
    deaths = len(counter.read_bytes()) if counter.exists() else 0
    if deaths == times:
        return counter.name
    counter.write_bytes(b"x" * (deaths + 1))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def hold(task: tuple[Path, int, int], report: Report, check: Check) -> tuple[int, bytes]:
    """Say on which Ray node this runs, wait for the file `gate`, and come back with so many bytes."""
    import ray

    gate, number, size = task
    report((number, ray.get_runtime_context().get_node_id()))
    while not gate.exists():
        check()
        time.sleep(0.01)
    return number, bytes(size)


def train_held(function: Any, gate: Path, shared: bool, task: Any, report: Report, check: Check) -> Any:
    """Train a group of a zoo after saying where; after its first epoch, wait for the gate."""
    import ray

    told = []

    def tell(event: Any) -> None:
        told.append(event)
        report(event)

    def check_held() -> None:
        check()
        while told and not gate.exists():
            time.sleep(0.01)
            check()

    report((task.first.run, ray.get_runtime_context().get_node_id()))
    return function(task if shared else replace(task, state=None), tell, check_held)


def named(task: Path, report: Report, check: Check) -> None:
    """Says which process it runs in, by a file, and is done."""
    (task / str(os.getpid())).touch()
