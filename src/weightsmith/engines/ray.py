"""The Ray engine: runs on the nodes of a cluster, which may die while they work."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weightsmith.engines.cluster import REMEDY, joined, own_folders, passed_on, slots_of
from weightsmith.engines.local import Check, Report
from weightsmith.engines.remote import Board, Outcome, Surroundings, work
from weightsmith.errors import EnvironmentFault
from weightsmith.interruption import check_interrupted

DEATHS = 5  # of worker processes on one task, before it is given up
PAUSE_SECONDS = 1.0  # after the first of them, and twice as long after each: memory may be free again
IN_FLIGHT = 2  # tasks for each one that the cluster holds at once, so that no worker waits for the driver
NODES_SECONDS = 60.0  # to wait for a node that can hold a task
STOP_SECONDS = 60.0  # for the workers to reach a safe point
_WAIT_SECONDS = 0.5
_CENSUS_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
_START_SECONDS = 120.0


@dataclass(frozen=True)
class RayEngine:
    """Tasks of `threads` CPUs and `gpus` GPUs each, on a Ray cluster or on a Ray of this machine's own.

    `address` is `auto`, `host:port` or `ray://host:port`; none starts Ray here, unless this process has one already.
    """

    address: str | None
    threads: int
    gpus: float = 0.0

    def map(self, function: Callable[[Any, Report, Check], Any], tasks: Sequence[Any], report: Report) -> Iterator[Any]:
        """Results as they come, one a task, whatever nodes are lost; new nodes are used.

        Raises what `function` raises; `Interrupted` after the workers have stopped at a safe point; `EnvironmentFault`
        when Ray is missing, the cluster is not reached or fails, no node can hold a task, or one task kills its worker
        process again and again.
        """
        if not tasks:
            return
        with joined(self.address, self.threads) as ray:
            flow, failed = _Flow(ray, self, function, iter(tasks), report), None
            try:
                for outcome in flow.outcomes():
                    if outcome.error is not None:
                        failed = outcome
                        break
                    yield outcome.result
            except (ray.exceptions.RayError, ConnectionError) as error:
                raise EnvironmentFault(f"the Ray cluster failed: {_first_line(error)}", REMEDY) from error
            finally:  # also when the caller stops listening
                flow.stop()
        if failed is not None and failed.error is not None:
            raise failed.error from RemoteTraceback(failed.traceback)


@dataclass(frozen=True)
class _Attempt:
    """A task at hand; `number` is another one each time it is tried, not before the time `due`."""

    task: Any
    number: int = 0
    deaths: int = 0
    due: float = 0.0


class RemoteTraceback(Exception):
    """Where on a worker an error arose; the cause of the error that the driver raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Flow:
    """The tasks of one `map` on their way through the cluster.

    Ray's own retries are off: the driver submits again what was lost, since only it can tell a node's death, which is
    no fault of a task, from a task that kills its process.
    """

    def __init__(
        self, ray: Any, engine: RayEngine, function: Callable[..., Any], tasks: Iterator[Any], report: Report
    ) -> None:
        self._ray, self._engine, self._function, self._report = ray, engine, function, report
        self._fresh, self._again = tasks, list[_Attempt]()
        self._pending: dict[Any, _Attempt] = {}
        self._numbers, self._ended = itertools.count(1), list[int]()
        self._slots, self._counted = 0, float("-inf")
        self._empty_since: float | None = None
        self._surroundings = Surroundings.of_this_process(engine.threads, own_folders())
        environment = {"runtime_env": {"env_vars": passed_on()}}
        self._work = ray.remote(work).options(
            num_cpus=engine.threads, num_gpus=engine.gpus, max_retries=0, **environment
        )
        self._board = _new_board(ray)

    def outcomes(self) -> Iterator[Outcome]:
        """What became of every task, once; its events are told before."""
        while True:
            self._fill()
            if not self._pending and not self._again:
                return
            ready = self._wait()
            self._hear()
            while ready:
                yield from self._collect(ready.pop())
            check_interrupted()

    def stop(self) -> None:
        """Let the workers save their state and end; nothing is left running."""
        lost = (self._ray.exceptions.RayError, ConnectionError)
        if self._pending:
            with contextlib.suppress(*lost):
                self._let_go(self._ray.get(self._board.stop.remote(), timeout=_ANSWER_SECONDS))
                self._hear()
            for ref in self._pending:  # those that did not come to a safe point in time, or that a lost board held
                with contextlib.suppress(*lost):
                    self._ray.cancel(ref, force=True)
        with contextlib.suppress(*lost):
            self._ray.kill(self._board)

    def _let_go(self, begun: set[int]) -> None:
        """Cancel what has not begun, and wait for what has."""
        for ref in [ref for ref, attempt in self._pending.items() if attempt.number not in begun]:
            self._ray.cancel(ref)
            del self._pending[ref]
        deadline = time.monotonic() + STOP_SECONDS
        while self._pending and time.monotonic() < deadline:
            for ref in self._ray.wait(list(self._pending), timeout=_WAIT_SECONDS)[0]:
                del self._pending[ref]

    def _fill(self) -> None:
        """Submit tasks until enough are in flight; never all, for each takes memory here and on the nodes."""
        self._count()
        while len(self._pending) < max(1, IN_FLIGHT * self._slots):
            attempt = self._next()
            if attempt is None:
                return
            call = self._ray.cloudpickle.dumps((self._function, attempt.task))
            ref = self._work.remote(call, self._surroundings, self._board, attempt.number)
            self._pending[ref] = attempt

    def _next(self) -> _Attempt | None:
        now = time.monotonic()
        for i, attempt in enumerate(self._again):
            if attempt.due <= now:
                del self._again[i]
                return replace(attempt, number=next(self._numbers))
        for task in self._fresh:
            return _Attempt(task, next(self._numbers))
        return None

    def _wait(self) -> list[Any]:
        """Those that have ended; one, as a rule, and none when it takes long."""
        if not self._pending:
            time.sleep(_WAIT_SECONDS)  # for a task to be due again
            return []
        ready: list[Any] = self._ray.wait(list(self._pending), timeout=_WAIT_SECONDS)[0]
        return ready

    def _count(self) -> None:
        """How much the cluster holds, now and then: nodes join and leave."""
        now = time.monotonic()
        if now - self._counted < _CENSUS_SECONDS:
            return
        self._slots, self._counted = slots_of(self._ray, self._engine.threads, self._engine.gpus), now
        if self._slots:
            self._empty_since = None
            return
        self._empty_since = now if self._empty_since is None else self._empty_since
        if now - self._empty_since >= NODES_SECONDS:
            wanted = f"{self._engine.threads} CPUs" + (f" and {self._engine.gpus:g} GPUs" if self._engine.gpus else "")
            raise EnvironmentFault(
                f"no node of the Ray cluster has {wanted} for a task",
                "start a worker node that has and run the same command again, or begin a zoo with fewer zoo.threads",
            )

    def _hear(self) -> None:
        ended, self._ended = self._ended, []
        with contextlib.suppress(self._ray.exceptions.RayError):  # events may be lost, results may not
            for batch in self._ray.get(self._board.take.remote(ended), timeout=_ANSWER_SECONDS):
                for event in self._ray.cloudpickle.loads(batch):
                    self._report(event)

    def _collect(self, ref: Any) -> Iterator[Outcome]:
        """The outcome of a task that has ended, unless it is to be tried again."""
        attempt = self._pending.pop(ref)
        self._ended.append(attempt.number)
        outcome = self._outcome(ref, attempt)
        del ref  # with it, the cluster lets the result go
        if outcome is None:
            return
        for event in outcome.events:
            self._report(event)
        yield outcome

    def _outcome(self, ref: Any, attempt: _Attempt) -> Outcome | None:
        failures = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.cloudpickle.loads(self._ray.get(ref))
            return outcome
        except (failures.NodeDiedError, failures.ObjectLostError):  # the second: after the work, before it was fetched
            self._again.insert(0, attempt)
        except (failures.WorkerCrashedError, failures.OutOfMemoryError) as error:
            self._again.append(_after_death(attempt, error))
        except failures.RayTaskError as error:
            raise EnvironmentFault(
                f"a worker of the Ray cluster cannot run tasks: {str(error).strip().splitlines()[-1]}",
                "install weightsmith on every machine of the cluster; see docs/cluster.md",
            ) from error
        return None


def _new_board(ray: Any) -> Any:
    """A board on this driver's node, which takes part of no core, and is made again should its process die.

    Raises `EnvironmentFault` when it does not come to life.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    board = ray.remote(Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
    try:
        ray.get(board.take.remote([]), timeout=_START_SECONDS)
    except ray.exceptions.RayError as error:
        raise EnvironmentFault(
            f"the Ray cluster does not start what it is sent: {_first_line(error)}",
            "install weightsmith on every machine of the cluster; see docs/cluster.md",
        ) from error
    return board


def _after_death(attempt: _Attempt, error: Exception) -> _Attempt:
    deaths = attempt.deaths + 1
    if deaths >= DEATHS:
        raise EnvironmentFault(
            f"{deaths} worker processes died on the same task: {_first_line(error)}",
            "use nodes with more memory, or let fewer tasks share it (ray start --num-cpus); then run the same command "
            "again, which goes on from here",
        )
    return replace(attempt, deaths=deaths, due=time.monotonic() + PAUSE_SECONDS * 2 ** (deaths - 1))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
