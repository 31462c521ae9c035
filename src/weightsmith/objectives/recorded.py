"""Recorded: on a GPU the gradient of each architecture is recorded once, as a CUDA graph, and then replayed.

Writing a network and measuring it is a thousand small kernels, of which each takes less time than to launch it. A graph
is launched whole, and several side by side.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightsmith.hypernetworks.pool import ArchitecturePool, ChosenPool, Prepared
from weightsmith.objectives.job import Job, loss_of, random_part

LANES = 16
FEW = 7


def clipped_gradient(loss: Tensor, generator: Any, largest: float) -> Tensor:
    """How a loss changes with the parameters of a generator, as one vector of a norm of at most `largest`.

    One whose norm is not finite is left as it is, for the loop to see.
    """
    parameters = list(generator.network.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in found])
    norm = gradient.norm()
    return gradient * torch.where(norm.isfinite(), (largest / norm).clamp(max=1), 1.0)


class Inputs:
    """All that differs between two gradients of an architecture, in tensors that stay where they are.

    `drawn`: what is random of a network, by name.
    """

    def __init__(self, drawn: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> None:
        self.drawn = {name: value.clone() for name, value in drawn.items()}
        self.images, self.labels = images.clone(), labels.clone()

    def fill(self, drawn: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> None:
        """Put others in their place."""
        for name, value in self.drawn.items():
            value.copy_(drawn[name])
        self.images.copy_(images)
        self.labels.copy_(labels)


class Recording:
    """One architecture: computed the first time it is asked for, recorded the second, then replayed.

    What is computed the first time makes the tables that it needs and loads the kernels; neither may be done while a
    graph is recorded. What cannot be recorded is computed anew each time.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self._graph: torch.cuda.CUDAGraph | None = None
        self._computed = False

    @property
    def replayed(self) -> bool:
        """Whether it is by now."""
        return self._graph is not None

    def run(self, compute: Callable[[], None], memory: Any) -> None:
        """Do what `compute` does; `memory` is that in which it is recorded, or `None` where it is not to be.

        Raises `RuntimeError` where it cannot be recorded.
        """
        if self._computed and self._graph is None and memory is not None:
            self._graph = _recorded(compute, memory)
        if self._graph is not None:
            self._graph.replay()
        else:
            compute()
            self._computed = True


def _recorded(compute: Callable[[], None], memory: Any) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    try:
        graph.capture_begin(pool=memory)
        try:
            compute()
        finally:
            graph.capture_end()
    except RuntimeError:
        _BROKEN.append(graph)
        raise
    return graph


# Graphs that could not be recorded. The allocator goes on to ask them which memory is theirs.
_BROKEN: list[torch.cuda.CUDAGraph] = []


class Lane:
    """A stream, and the recordings that are replayed on it one after another, in memory that they share.

    `total`: the sum of losses, then that of gradients.
    """

    def __init__(self, generator: Any, largest: float) -> None:
        self._device, size = generator.network.device, sum(p.numel() for p in generator.network.parameters())
        self.stream = torch.cuda.Stream(self._device)
        self.total = torch.zeros(size + 1, device=self._device)
        self._generator, self._largest = _alias(generator), largest
        self._memory: Any = torch.cuda.graph_pool_handle()
        self._rng = torch.Generator(self._device)
        self._recordings: dict[tuple[int, int, bool], Recording] = {}

    def run(self, job: Job, prepared: Prepared) -> None:
        """Add what a job comes to to the total."""
        self._rng.manual_seed(job.seed)
        images, labels = (value.to(self._device) for value in job.shown(prepared, self._rng))
        drawn = self._drawn(job, prepared)
        key = job.number, len(labels), job.autocast
        if key in self._recordings:
            self._recordings[key].inputs.fill(drawn, images, labels)
        else:
            self._recordings[key] = Recording(Inputs(drawn, images, labels))
        compute = partial(self._add, prepared, self._recordings[key].inputs, job.autocast)
        try:
            self._recordings[key].run(compute, self._memory)
        except RuntimeError as error:
            if self._memory is None:
                raise
            self._memory = None  # nothing more can be recorded in it
            warnings.warn(f"{prepared.architecture.name} cannot be recorded ({error})", RuntimeWarning, stacklevel=2)
            self._recordings[key].run(compute, None)
        if not self._recordings[key].replayed:
            self.stream.synchronize()  # the tables that were made are those of all lanes

    def _drawn(self, job: Job, prepared: Prepared) -> dict[str, Tensor]:
        drawn = random_part(self._generator, prepared, job, self._rng)
        return {
            name: value if value.device == self._device else value.pin_memory().to(self._device, non_blocking=True)
            for name, value in drawn.items()
        }

    def _add(self, prepared: Prepared, inputs: Inputs, autocast: bool) -> None:
        # Without its cache, from which a recording would take weights as they were.
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast, cache_enabled=False):
            loss = loss_of(self._generator, prepared, inputs.drawn, inputs.images, inputs.labels)
        gradient = clipped_gradient(loss, self._generator, self._largest)
        self.total[1:] += gradient
        self.total[0] += loss.detach()


class Recorded:
    """Sums of gradients of the architectures of a pool, in lanes side by side; that of number `i` is `i % lanes`.

    Of a pool of `FEW` or less, every lane records all, and jobs (`most` at once) are given to them in turn. The
    hypernetwork's tensors must stay where they are; see `stale`.
    """

    def __init__(self, pool: ArchitecturePool | ChosenPool, generator: Any, most: int, largest: float) -> None:
        self._pool, self._places, self._device = pool, _places(generator), generator.network.device
        lanes = min(LANES, most) if len(pool) <= FEW else lanes_of(len(pool))
        self._lanes = [Lane(generator, largest) for _ in range(lanes)]

    def stale(self, generator: Any) -> bool:
        """Whether these are not recordings of the generator, or its tensors lie elsewhere now."""
        return _places(generator) != self._places

    def sums(self, jobs: Sequence[Job]) -> tuple[Tensor, Tensor]:
        """The sum of losses, and the sum of gradients `[parameter]`, each clipped."""
        current = torch.cuda.current_stream(self._device)
        for lane in self._lanes:
            lane.stream.wait_stream(current)
            with torch.cuda.stream(lane.stream):
                lane.total.zero_()
        try:
            for turn, job in enumerate(jobs):
                lane = self._lanes[(turn if len(self._pool) <= FEW else job.number) % len(self._lanes)]
                with torch.cuda.stream(lane.stream):
                    lane.run(job, self._pool[job.number])
        finally:
            for lane in self._lanes:
                current.wait_stream(lane.stream)
        total = torch.stack([lane.total for lane in self._lanes]).sum(0)
        return total[0], total[1:]


def lanes_of(size: int) -> int:
    """In how many lanes a pool of more than `FEW` architectures is recorded."""
    return min(LANES, size // 4)


def dealt(size: int, count: int, rng: torch.Generator) -> list[int]:
    """So many numbers of a pool, drawn from those of one lane after another, from any lane on."""
    if size <= FEW:
        return torch.randint(size, (count,), generator=rng).tolist()
    lanes = lanes_of(size)
    first = int(torch.randint(lanes, (), generator=rng))
    each = [range((first + turn) % lanes, size, lanes) for turn in range(count)]
    return [own[int(torch.randint(len(own), (), generator=rng))] for own in each]


def _alias(generator: Any) -> Any:
    """Another generator of the same tensors, whose gradients no other stream has to do with."""
    parameters = {id(p): torch.nn.Parameter(p.detach()) for p in generator.network.parameters()}
    return copy.deepcopy(generator, {**parameters, **{id(b): b for b in generator.network.buffers()}})


def _places(generator: Any) -> list[int]:
    return [value.data_ptr() for value in (*generator.network.parameters(), *generator.network.buffers())]
