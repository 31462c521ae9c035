"""Replicas: processes that hold a copy of a generator each and compute gradients for this one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection
from types import FrameType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from weightsmith.environment import peak_memory
from weightsmith.errors import EnvironmentFault

_PATIENCE = 10.0  # seconds that a process may take to end by itself, once nobody listens
_GRACE = 5.0  # and once it is told to


class Found(NamedTuple):
    """What a job came to: a loss, its gradient as one vector, and how many seconds it took."""

    loss: float
    gradient: Tensor
    seconds: float


class _Told(NamedTuple):
    """The same as it travels, the gradient apart, and the most memory that the process has held, in MB."""

    loss: float
    seconds: float
    peak: float


Work = Callable[[Any, Any], Found]  # (generator, job)


class Replicas:
    """`count` processes; each takes the next job when it is done with one, and who took which changes no bit."""

    def __init__(self, count: int, slots: int, generator: Any, work: Work) -> None:
        """`slots`: the most jobs at once."""
        context = multiprocessing.get_context("spawn")  # a fork would copy OpenMP's threads in an unknown state
        self._generator = generator
        size = sum(p.numel() for p in generator.network.parameters())
        parameters = context.RawArray("f", size)
        gradients = [context.RawArray("f", size) for _ in range(slots)]
        self._parameters = np.frombuffer(parameters, np.float32)
        self._gradients = [torch.frombuffer(slot, dtype=torch.float32) for slot in gradients]
        self._processes, self._pipes, self._peaks = [], [], [0.0] * count
        what = pickle.dumps((generator, work))  # by value: torch would hand tensors over as open files
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, what, parameters, gradients), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._pipes.append(here)

    @property
    def peaks(self) -> list[float]:
        """The most memory that each of them has held, in MB, as far as it has said."""
        return self._peaks

    def results(self, jobs: Sequence[Any], seconds: Sequence[float]) -> list[Found]:
        """What every job came to, in their order, with the parameters of this moment; the longest are begun first.

        Raises the error that a job raises, and `EnvironmentFault` where a process has died; close these replicas then.
        """
        vector = parameters_to_vector(self._generator.network.parameters()).detach()
        self._parameters[:] = vector.cpu().numpy()
        waiting = sorted(range(len(jobs)), key=lambda number: (seconds[number], -number))
        try:
            told = self._told(waiting, jobs)
        except (EOFError, ConnectionError) as error:
            raise EnvironmentFault(
                f"a process that computes gradients died ({type(error).__name__})",
                "run the same command again, it goes on from what was saved; if it recurs, memory is short: "
                'use one worker (universal.workers=1). In a script, guard the call with if __name__ == "__main__"',
            ) from None
        return [Found(one.loss, self._gradients[n].to(vector.device, copy=True), one.seconds) for n, one in told]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_PATIENCE)
            if process.is_alive():  # in the middle of a job that nobody waits for
                process.kill()
                process.join()
        self._processes, self._pipes = [], []

    def _told(self, waiting: list[int], jobs: Sequence[Any]) -> list[tuple[int, _Told]]:
        told: dict[int, _Told] = {}
        for pipe in self._pipes[: len(jobs)]:
            _hand_out(pipe, waiting, jobs)
        while len(told) < len(jobs):
            for ready in connection.wait(self._pipes):
                pipe = cast(connection.Connection, ready)
                number, answer = pickle.loads(pipe.recv_bytes())
                if isinstance(answer, Exception):
                    raise answer
                told[number] = answer
                self._peaks[self._pipes.index(pipe)] = answer.peak
                if waiting:
                    _hand_out(pipe, waiting, jobs)
        return sorted(told.items())


def _hand_out(pipe: connection.Connection, waiting: list[int], jobs: Sequence[Any]) -> None:
    number = waiting.pop()
    pipe.send_bytes(pickle.dumps((number, jobs[number])))


def _serve(pipe: connection.Connection, what: bytes, parameters: Any, gradients: Sequence[Any]) -> None:
    """Answer until the other end is closed, as it is when its process ends in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.signal(signal.SIGTERM, _end_soon)  # so may the signal of a scheduler
    torch.set_num_threads(1)
    generator, work = pickle.loads(what)
    vector = torch.frombuffer(parameters, dtype=torch.float32)
    slots = [torch.frombuffer(slot, dtype=torch.float32) for slot in gradients]
    try:
        while True:
            number, job = pickle.loads(pipe.recv_bytes())
            vector_to_parameters(vector, generator.network.parameters())
            pipe.send_bytes(pickle.dumps((number, _answer(generator, work, job, slots[number]))))
    except (EOFError, OSError):
        return


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Leave time for the update that goes on, after which the parent saves its state and closes."""
    timer = threading.Timer(_GRACE, os._exit, (1,))
    timer.daemon = True  # or it would keep a process that is closed in time
    timer.start()


def _answer(generator: Any, work: Work, job: Any, slot: Tensor) -> _Told | Exception:
    try:
        found = work(generator, job)
    except Exception as error:  # whatever it is, it is raised where the results are awaited
        return error if _travels(error) else RuntimeError(repr(error))
    slot.copy_(found.gradient)
    return _Told(found.loss, found.seconds, peak_memory() or 0.0)


def _travels(error: Exception) -> bool:
    """Whether an error can be sent to another process; some of other libraries cannot be made anew."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
