"""What runs on the nodes of a cluster: one task, and the board over which it and the driver hear of each other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import weightsmith
from weightsmith.errors import EnvironmentFault, Interrupted

# Nothing here imports torch before a task is run: the process of the board needs none.

POLL_SECONDS = 1.0
_BEGIN_SECONDS = 10.0
_KEPT_BATCHES = 10_000


class Board:
    """The one actor of a driver: events on their way to it, which tasks have begun, and whether work must stop."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque(maxlen=_KEPT_BATCHES)  # the oldest go where nobody listens
        self._begun: set[int] = set()
        self._stopped = False

    def begin(self, attempt: int) -> bool:
        """Whether this attempt at a task must stop before it has begun."""
        if not self._stopped:
            self._begun.add(attempt)
        return self._stopped

    def post(self, events: bytes) -> bool:
        """Leave pickled events for the driver; whether work must stop."""
        if events:
            self._events.append(events)
        return self._stopped

    def take(self, ended: Iterable[int]) -> list[bytes]:
        """The events since the last call; `ended` attempts are forgotten."""
        self._begun.difference_update(ended)
        taken = list(self._events)
        self._events.clear()
        return taken

    def stop(self) -> set[int]:
        """From now on no attempt begins; those that have begun, and will hear of it."""
        self._stopped = True
        return self._begun


@dataclass(frozen=True)
class Surroundings:
    """What of the driver a worker must have: threads of a task, current folder, folders of modules, and versions."""

    threads: int
    folder: str
    modules: tuple[str, ...]
    torch: str
    weightsmith: str

    @classmethod
    def of_this_process(cls, threads: int, modules: tuple[str, ...]) -> Surroundings:
        import torch

        return cls(threads, str(Path.cwd()), modules, torch.__version__, weightsmith.__version__)

    def enter(self) -> None:
        """Make this process like the driver, as far as this machine has its folders.

        Raises `EnvironmentFault` for other versions than the driver's, which would train other networks.
        """
        import torch

        there, here = (self.torch, self.weightsmith), (torch.__version__, weightsmith.__version__)
        for name, wanted, found in zip(("torch", "weightsmith"), there, here, strict=True):
            if _public(wanted) != _public(found):
                raise EnvironmentFault(
                    f"{name} is {found} on {socket.gethostname()}, and {wanted} where the work was started",
                    "install the same versions on every machine of the cluster",
                )
        sys.path += [folder for folder in self.modules if folder not in sys.path and Path(folder).is_dir()]
        with contextlib.suppress(OSError):  # another machine may not have it, or not let this user in
            os.chdir(self.folder)
        torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a result or an error, and the events that were not posted before."""

    result: Any = None
    error: Exception | None = None
    traceback: str = ""
    events: Sequence[Any] = ()


class Line:
    """A worker's end of the board. Nothing here waits for an answer while work goes on."""

    def __init__(self, board: Any, attempt: int) -> None:
        import ray

        self._ray, self._board, self._attempt = ray, board, attempt
        self._events: list[Any] = []
        self._asked: Any = None
        self._due = 0.0
        self._stopped = False

    def begin(self) -> None:
        """Raises `Interrupted` when work was stopped before this task began."""
        with contextlib.suppress(self._ray.exceptions.RayError):  # a lost board is no reason to lose work
            self._stopped = self._ray.get(self._board.begin.remote(self._attempt), timeout=_BEGIN_SECONDS)
        self.check()

    def report(self, event: Any) -> None:
        """Send an event to the driver, soon."""
        self._events.append(event)
        self._exchange()

    def check(self) -> None:
        """Raises `Interrupted` when work must stop. Next to free, but for once a second."""
        self._exchange()
        if self._stopped:
            raise Interrupted(signal.SIGTERM)

    def rest(self) -> Sequence[Any]:
        """The events that were not sent, once those that were have arrived."""
        if self._asked is not None:
            self._ray.wait([self._asked], timeout=POLL_SECONDS)
        return self._events

    def _exchange(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + POLL_SECONDS
        if self._asked is not None:
            if not self._ray.wait([self._asked], timeout=0)[0]:
                return
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._stopped = self._stopped or self._ray.get(self._asked)
        events, self._events = self._events, []
        self._asked = self._board.post.remote(self._ray.cloudpickle.dumps(events) if events else b"")


def work(call: bytes, surroundings: Surroundings, board: Any, attempt: int) -> bytes:
    """Run one pickled `(function, task)` on this node; its pickled `Outcome`, so that errors stay what they are."""
    from ray import cloudpickle

    line = Line(board, attempt)
    try:
        surroundings.enter()
        function, task = _loaded(call)
        line.begin()
        result = function(task, line.report, line.check)
        return cloudpickle.dumps(Outcome(result, events=line.rest()))
    except Exception as error:
        return cloudpickle.dumps(Outcome(None, _portable(error), traceback.format_exc(), line.rest()))


def _loaded(call: bytes) -> tuple[Callable[..., Any], Any]:
    from ray import cloudpickle

    try:
        return cloudpickle.loads(call)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(
            f"{socket.gethostname()} cannot load the task: {error}",
            "install weightsmith and your own modules on every machine of the cluster; see docs/cluster.md",
        ) from error


def _portable(error: Exception) -> Exception:
    """The error itself, or its text where it would not survive the journey."""
    from ray import cloudpickle

    try:
        cloudpickle.loads(cloudpickle.dumps(error))
        return error
    except Exception:  # whatever a class of somebody else's does when it is made again
        return RuntimeError(f"{type(error).__name__}: {error}")


def _public(version: str) -> str:
    return version.partition("+")[0]  # what follows names the build: for this processor or that GPU
