"""Replicas: processes that hold a copy of a generator each and compute gradients beside this one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from weightsmith.environment import peak_memory
from weightsmith.errors import EnvironmentFault

Work = Callable[[Any, Any], Any]  # (generator, job) -> result
_PATIENCE = 10.0  # seconds that a process may take to end by itself, once nobody listens
_GRACE = 5.0  # and once it is told to


@dataclass
class _Replica:
    process: Any
    connection: Connection
    peak: float = 0.0


class _Answers(NamedTuple):
    """What a replica sends back: a result a job, or the error that it met; and the most memory it has held, in MB."""

    results: Sequence[Any]
    error: Exception | None
    peak: float


class Replicas:
    """`count` further processes; what is computed does not depend on how many there are."""

    def __init__(self, count: int, generator: Any, work: Work) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy OpenMP's threads in an unknown state
        self._generator, self._work = generator, work
        self._replicas = []
        for _ in range(count):
            here, there = context.Pipe()
            # By value: torch would hand tensors over in shared memory, which is small in many containers.
            process = context.Process(target=_serve, args=(there, pickle.dumps((generator, work))), daemon=True)
            process.start()
            there.close()
            self._replicas.append(_Replica(process, here))

    @property
    def peaks(self) -> list[float]:
        """The most memory that each of them has held, in MB, as far as it has said."""
        return [replica.peak for replica in self._replicas]

    def results(self, jobs: Sequence[Any], costs: Sequence[float]) -> list[Any]:
        """`work(generator, job)` for every job, in their order; the generator's parameters are those of this moment.

        Raises the error that a job raises, and `EnvironmentFault` where a process has died; close these replicas then.
        """
        shares = dealt(costs, len(self._replicas) + 1)
        state = pickle.dumps(parameters_to_vector(self._generator.network.parameters()).detach().numpy())
        found: dict[int, Any] = {}
        try:
            for replica, share in zip(self._replicas, shares[1:], strict=True):
                replica.connection.send_bytes(state)
                replica.connection.send_bytes(pickle.dumps([jobs[number] for number in share]))
            for number in shares[0]:
                found[number] = self._work(self._generator, jobs[number])
            for replica, share in zip(self._replicas, shares[1:], strict=True):
                found |= dict(zip(share, _received(replica), strict=True))
        except (EOFError, ConnectionError) as error:
            raise EnvironmentFault(
                f"a process that computes gradients died ({type(error).__name__})",
                "run the same command again, it goes on from what was saved; if it recurs, memory is short: "
                'use one worker (universal.workers=1). In a script, guard the call with if __name__ == "__main__"',
            ) from None
        return [found[number] for number in range(len(jobs))]

    def close(self) -> None:
        """End the processes."""
        for replica in self._replicas:
            replica.connection.close()
        for replica in self._replicas:
            replica.process.join(_PATIENCE)
            if replica.process.is_alive():  # in the middle of a job that nobody waits for
                replica.process.kill()
                replica.process.join()
        self._replicas = []


def _received(replica: _Replica) -> Sequence[Any]:
    answers: _Answers = pickle.loads(replica.connection.recv_bytes())
    replica.peak = answers.peak
    if answers.error is not None:
        raise answers.error
    return answers.results


def dealt(costs: Sequence[float], hands: int) -> list[list[int]]:
    """The numbers of jobs for each hand: the dearest first, each to the hand with least to do."""
    shares: list[list[int]] = [[] for _ in range(hands)]
    loads = [0.0] * hands
    for number in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        hand = loads.index(min(loads))
        shares[hand].append(number)
        loads[hand] += costs[number]
    return shares


def _serve(connection: Connection, what: bytes) -> None:
    """Answer until the other end is closed, as it is when its process ends in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.signal(signal.SIGTERM, _end_soon)  # so may the signal of a scheduler
    torch.set_num_threads(1)
    generator, work = pickle.loads(what)
    try:
        while True:
            vector: Tensor = torch.from_numpy(pickle.loads(connection.recv_bytes()))
            vector_to_parameters(vector, generator.network.parameters())
            jobs = pickle.loads(connection.recv_bytes())
            connection.send_bytes(pickle.dumps(_answers(work, generator, jobs)))
    except (EOFError, OSError):
        return


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Leave time for the update that goes on, after which the parent saves its state and closes."""
    timer = threading.Timer(_GRACE, os._exit, (1,))
    timer.daemon = True  # or it would keep a process that is closed in time
    timer.start()


def _answers(work: Work, generator: Any, jobs: Sequence[Any]) -> _Answers:
    try:
        return _Answers([work(generator, job) for job in jobs], None, peak_memory() or 0.0)
    except Exception as error:
        return _Answers([], error if _travels(error) else RuntimeError(repr(error)), peak_memory() or 0.0)


def _travels(error: Exception) -> bool:
    """Whether an error can be sent to another process; some of other libraries cannot be made anew."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
