"""The local engine: runs in this process, or in a pool of processes with their own share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection
from types import FrameType
from typing import Any

import torch

from weightsmith.errors import EnvironmentFault, Interrupted
from weightsmith.interruption import check_interrupted

LISTENER_SECONDS = 5.0
IN_FLIGHT = 2  # tasks a worker: enough that none waits for this process, and few enough to be held in memory

Report = Callable[[Any], None]
Check = Callable[[], None]


def share_cores(tasks: int, cores: int, speed: Callable[[int], float]) -> tuple[int, int]:
    """(workers, threads of each) that finish `tasks` equal tasks soonest on `cores` cores.

    With w workers the tasks take `ceil(tasks / w)` rounds at the speed of `cores // w` threads, which `speed` gives;
    the smallest quotient wins, and of equal ones that with most workers.
    """
    choices = range(1, max(1, min(tasks, cores)) + 1)
    workers = min(choices, key=lambda w: (-(-tasks // w) / speed(cores // w), -w))
    return workers, cores // workers


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class LocalEngine:
    """`workers` processes of `threads` threads; one worker is this process itself."""

    workers: int
    threads: int

    def map(self, function: Callable[[Any, Report, Check], Any], tasks: Sequence[Any], report: Report) -> Iterator[Any]:
        """Results as they come. Raises `Interrupted` after the workers have stopped at a safe point."""
        if self.workers > 1 and len(tasks) > 1:
            yield from self._in_processes(function, tasks, report)
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            for task in tasks:
                yield function(task, report, check_interrupted)
        finally:
            torch.set_num_threads(before)

    def _in_processes(self, function: Callable[..., Any], tasks: Sequence[Any], report: Report) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")  # a fork would copy OpenMP's threads in an unknown state
        stop, events = context.Event(), context.Queue()
        listener = threading.Thread(target=_listen, args=(events, report), daemon=True)
        listener.start()
        workers = min(self.workers, len(tasks))
        pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(stop, events, self.threads))
        try:
            with pool:
                submitted = (pool.submit(_work, function, task) for task in tasks)
                yield from _results(submitted, IN_FLIGHT * workers, stop)
        finally:
            events.put(None)
            listener.join(LISTENER_SECONDS)  # a worker killed while it reports leaves the queue locked for ever
            events.cancel_join_thread()


def _results(submitted: Iterator[Future[bytes]], limit: int, stop: Any) -> Iterator[Any]:
    """The results of tasks that are submitted as they are drawn: `limit` at once, and none is held when it is told."""
    pending: set[Future[bytes]] = set()
    try:
        while True:
            pending.update(islice(submitted, limit - len(pending)))
            if not pending:
                return
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            while done:
                yield pickle.loads(done.pop().result())
            check_interrupted()
    except BrokenProcessPool:
        check_interrupted()  # the signal may have gone to all processes, as Ctrl-C does
        raise EnvironmentFault(
            "a worker process died",
            "run again; if it recurs, use zoo.workers=1 (too little memory), and in a script guard the call with "
            'if __name__ == "__main__"',
        ) from None
    finally:  # also when the caller stops listening: let the workers save their state and end
        stop.set()
        for future in pending:
            future.cancel()


_stop: Any = None
_events: Any = None
_at_work = threading.Lock()
_terminated = False


def _start_worker(stop: Any, events: Any, threads: int) -> None:
    global _stop, _events
    _stop, _events = stop, events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and asks the workers to stop
    signal.signal(signal.SIGTERM, _terminate)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _terminate(number: int, frame: FrameType | None) -> None:
    """Job schedulers signal every process: a worker at work saves its state first, one that waits ends at once."""
    global _terminated
    _terminated = True
    if not _at_work.locked():
        os._exit(128 + number)


def _end_with_parent() -> None:
    """A worker that waits for tasks would outlive a killed parent for ever; one at work saves its state first."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        with _at_work:
            os._exit(1)


def _work(function: Callable[..., Any], task: Any) -> bytes:
    with _at_work:
        try:
            # By value: torch would hand tensors over in shared memory, which is small in many containers.
            return pickle.dumps(function(task, _events.put, _check_stop))
        finally:
            if _terminated:
                os._exit(128 + signal.SIGTERM)


def _check_stop() -> None:
    parent = multiprocessing.parent_process()
    if _terminated or _stop.is_set() or (parent is not None and not parent.is_alive()):
        raise Interrupted(signal.SIGTERM)


def _listen(events: Any, report: Report) -> None:
    for event in iter(events.get, None):
        report(event)
