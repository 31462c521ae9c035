"""Replicas: processes that hold a copy of a generator each and compute gradients for this one."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from weightsmith.errors import EnvironmentFault

SECONDS_TO_END = 10.0


class Found(NamedTuple):
    """What a job came to: a loss, its gradient as one vector, and how long it took."""

    loss: float
    gradient: Tensor
    seconds: float


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
        self._processes, self._pipes = [], []
        what = pickle.dumps((generator, work))  # by value: torch would hand tensors over as open files
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, what, parameters, gradients), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._pipes.append(here)

    def results(self, jobs: Sequence[Any], seconds: Sequence[float]) -> list[Found]:
        """What every job came to, in their order, with the parameters of this moment; the longest are begun first."""
        vector = parameters_to_vector(self._generator.network.parameters()).detach()
        self._parameters[:] = vector.cpu().numpy()
        waiting = sorted(range(len(jobs)), key=lambda number: (seconds[number], -number))
        told: dict[int, tuple[float, float]] = {}
        try:
            for pipe in self._pipes[: len(jobs)]:
                self._hand_out(pipe, waiting, jobs)
            while len(told) < len(jobs):
                for ready in connection.wait(self._pipes):
                    pipe = cast(connection.Connection, ready)
                    number, answer = pipe.recv()
                    if isinstance(answer, Exception):
                        raise answer
                    told[number] = answer
                    if waiting:
                        self._hand_out(pipe, waiting, jobs)
        except (EOFError, OSError) as error:
            raise EnvironmentFault(
                f"a process that computes gradients died ({type(error).__name__})",
                "run again, it goes on; if it recurs, use training.workers=1 (too little memory), and in a script "
                'guard the call with if __name__ == "__main__"',
            ) from None
        return [Found(loss, self._gradients[number].clone(), took) for number, (loss, took) in sorted(told.items())]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(SECONDS_TO_END)
        self._processes, self._pipes = [], []

    @staticmethod
    def _hand_out(pipe: Any, waiting: list[int], jobs: Sequence[Any]) -> None:
        number = waiting.pop()
        pipe.send_bytes(pickle.dumps((number, jobs[number])))


def _serve(pipe: Any, what: bytes, parameters: Any, gradients: Sequence[Any]) -> None:
    """Answer until the other end is closed, as it is when its process ends in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    torch.set_num_threads(1)
    generator, work = pickle.loads(what)
    vector = torch.frombuffer(parameters, dtype=torch.float32)
    slots = [torch.frombuffer(slot, dtype=torch.float32) for slot in gradients]
    try:
        while True:
            number, job = pickle.loads(pipe.recv_bytes())
            vector_to_parameters(vector, generator.network.parameters())
            pipe.send((number, _answer(generator, work, job, slots[number])))
    except (EOFError, OSError):
        return


def _answer(generator: Any, work: Work, job: Any, slot: Tensor) -> tuple[float, float] | Exception:
    try:
        found = work(generator, job)
    except Exception as error:  # whatever it is, it is raised where the results are awaited
        return error
    slot.copy_(found.gradient)
    return found.loss, found.seconds
