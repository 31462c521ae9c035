"""Recorded: on a GPU the gradient of each architecture is recorded once, as a CUDA graph, and then replayed.

Writing a network and measuring it is a thousand small kernels, of which each takes less time than to launch it. A graph
is launched whole, and several side by side.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.hypernetworks.network import Drawn
from weightsmith.hypernetworks.pool import ArchitecturePool, ChosenPool, Prepared
from weightsmith.objectives.job import Job

LANES = 8


def clipped_gradient(loss: Tensor, generator: Any, largest: float) -> Tensor:
    """How a loss changes with the parameters of a generator, as one vector of a norm of at most `largest`."""
    parameters = list(generator.network.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in found])
    return gradient * (largest / gradient.norm()).clamp(max=1)


class Inputs:
    """All that differs between two gradients of an architecture, in tensors that stay where they are."""

    def __init__(self, drawn: Drawn, images: Tensor, labels: Tensor) -> None:
        self.drawn = Drawn(*(value.clone() for value in drawn))
        self.images, self.labels = images.clone(), labels.clone()

    def fill(self, drawn: Drawn, images: Tensor, labels: Tensor) -> None:
        """Put others in their place."""
        for mine, given in zip((*self.drawn, self.images, self.labels), (*drawn, images, labels), strict=True):
            mine.copy_(given)


class Recording:
    """One architecture: computed the first time it is asked for, recorded the second, then replayed.

    What is computed the first time makes the tables that it needs and loads the kernels; neither may be done while a
    graph is recorded. What cannot be recorded is computed anew each time.
    """

    def __init__(self, inputs: Inputs, compute: Callable[[], None]) -> None:
        self.inputs, self._compute = inputs, compute
        self._graph: torch.cuda.CUDAGraph | None = None
        self._computed = self.refused = False

    def run(self, memory: Any) -> None:
        """Compute it; `memory` is that of a lane, in which it is recorded."""
        if self._computed and self._graph is None and not self.refused:
            self._record(memory)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute()
            self._computed = True

    def _record(self, memory: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=memory)
        try:
            self._compute()
        except RuntimeError:
            self.refused = True
            with contextlib.suppress(RuntimeError):  # the recording is broken, and says so
                graph.capture_end()
            return
        graph.capture_end()
        self._graph = graph


class Lane:
    """A stream, and the recordings that are replayed on it one after another, in memory that they share.

    `total`: the sum of losses, then that of gradients.
    """

    def __init__(self, generator: Any, largest: float) -> None:
        device, size = generator.network.device, sum(p.numel() for p in generator.network.parameters())
        self.stream = torch.cuda.Stream(device)
        self.total = torch.zeros(size + 1, device=device)
        self._generator, self._largest = _alias(generator), largest
        self._memory = torch.cuda.graph_pool_handle()
        self._rng = torch.Generator(device)
        self._recordings: dict[tuple[int, bool], Recording] = {}

    def run(self, job: Job, prepared: Prepared) -> None:
        """Add what a job comes to to the total."""
        self._rng.manual_seed(job.seed)
        images, labels = job.shown(prepared, self._rng)
        drawn = self._generator.drawn(prepared.blueprint, self._rng, job.blur)
        key = job.number, job.autocast
        if key in self._recordings:
            self._recordings[key].inputs.fill(drawn, images, labels)
        else:
            inputs = Inputs(drawn, images, labels)
            self._recordings[key] = Recording(inputs, partial(self._add, prepared, inputs, job.autocast))
        refused = self._recordings[key].refused
        self._recordings[key].run(self._memory)
        if self._recordings[key].refused and not refused:
            self._memory = torch.cuda.graph_pool_handle()  # the other cannot be recorded to any more

    @property
    def refused(self) -> int:
        return sum(recording.refused for recording in self._recordings.values())

    def _add(self, prepared: Prepared, inputs: Inputs, autocast: bool) -> None:
        # Without its cache, from which a recording would take weights as they were.
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast, cache_enabled=False):
            weights = self._generator.written(prepared.blueprint, inputs.drawn)
            loss = F.cross_entropy(prepared(weights, inputs.images).float(), inputs.labels)
        self.total[1:] += clipped_gradient(loss, self._generator, self._largest)
        self.total[0] += loss.detach()


class Recorded:
    """Sums of gradients of the architectures of a pool, in lanes side by side; that of number `i` is `i % lanes`.

    The hypernetwork's tensors must stay where they are; see `stale`.
    """

    def __init__(self, pool: ArchitecturePool | ChosenPool, generator: Any, lanes: int, largest: float) -> None:
        self._pool, self._places = pool, _places(generator)
        self._lanes = [Lane(generator, largest) for _ in range(lanes)]

    def stale(self, generator: Any) -> bool:
        """Whether these are not recordings of the generator, or its tensors lie elsewhere now."""
        return _places(generator) != self._places

    @property
    def refused(self) -> int:
        """How many architectures could not be recorded."""
        return sum(lane.refused for lane in self._lanes)

    def sums(self, jobs: Sequence[Job]) -> tuple[Tensor, Tensor]:
        """The sum of losses, and the sum of gradients `[parameter]`, each clipped."""
        current = torch.cuda.current_stream()
        for lane in self._lanes:
            lane.stream.wait_stream(current)
            with torch.cuda.stream(lane.stream):
                lane.total.zero_()
        for job in jobs:
            lane = self._lanes[job.number % len(self._lanes)]
            with torch.cuda.stream(lane.stream):
                lane.run(job, self._pool[job.number])
        for lane in self._lanes:
            current.wait_stream(lane.stream)
        total = torch.stack([lane.total for lane in self._lanes]).sum(0)
        return total[0], total[1:]


def _alias(generator: Any) -> Any:
    """Another generator of the same tensors, whose gradients no other stream has to do with."""
    parameters = {id(p): torch.nn.Parameter(p.detach()) for p in generator.network.parameters()}
    return copy.deepcopy(generator, {**parameters, **{id(b): b for b in generator.network.buffers()}})


def _places(generator: Any) -> list[int]:
    return [value.data_ptr() for value in (*generator.network.parameters(), *generator.network.buffers())]
