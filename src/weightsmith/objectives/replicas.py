"""Replicas: processes that hold a copy of a generator each and compute gradients beside this one."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from weightsmith.errors import EnvironmentFault

Work = Callable[[Any, Any], Any]  # (generator, job) -> result


@dataclass
class _Replica:
    process: Any
    connection: Connection


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

    def results(self, jobs: Sequence[Any], costs: Sequence[float]) -> list[Any]:
        """`work(generator, job)` for every job, in their order; the generator's parameters are those of this moment."""
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
                found |= dict(zip(share, pickle.loads(replica.connection.recv_bytes()), strict=True))
        except (EOFError, OSError) as error:
            raise EnvironmentFault(
                f"a process that computes gradients died ({type(error).__name__})",
                "run again, it goes on; if it recurs, use training.workers=1 (too little memory), and in a script "
                'guard the call with if __name__ == "__main__"',
            ) from None
        return [found[number] for number in range(len(jobs))]

    def close(self) -> None:
        """End the processes."""
        for replica in self._replicas:
            replica.connection.close()
            replica.process.join(10)
        self._replicas = []


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
    torch.set_num_threads(1)
    generator, work = pickle.loads(what)
    try:
        while True:
            vector: Tensor = torch.from_numpy(pickle.loads(connection.recv_bytes()))
            vector_to_parameters(vector, generator.network.parameters())
            connection.send_bytes(pickle.dumps([work(generator, job) for job in pickle.loads(connection.recv_bytes())]))
    except (EOFError, OSError):
        return
