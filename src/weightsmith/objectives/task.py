"""Task loss: what the networks that a hypernetwork writes say of images, for architectures drawn anew each update."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightsmith.environment import peak_memory
from weightsmith.hypernetworks.pool import ArchitecturePool, ChosenPool, Prepared
from weightsmith.interfaces import LossRecord
from weightsmith.objectives.job import Job, loss_of, measured, random_part, tells_apart
from weightsmith.objectives.recorded import Recorded, clipped_gradient, dealt
from weightsmith.objectives.replicas import Found, Replicas

IMAGES, LABELS = "images", "labels"


@dataclass
class TaskLoss:
    """Mean cross-entropy of generated networks, `mean_a CE(f_a(x; H(a, noise)), y)`, over architectures from `pool`.

    A generator that begins at given weights is given a fresh initialisation of each architecture in place of noise.
    `architectures` are drawn for each update. The gradient of each is clipped to a norm of `largest_gradient` before
    they are averaged, so that one network gone astray does not outvote the others; the loss given back has that
    gradient. What the hypernetwork is told of them is blurred by `blur`, so that it does not cling to how those of the
    pool look. Networks that cost much see `fewest` images, others up to the whole batch.

    Everything is computed where the hypernetwork lies: on a CPU by `workers` processes, which changes no bit where each
    has one thread; on a GPU by this one, from recordings where the generator can say apart what is random of a network.
    """

    pool: ArchitecturePool | ChosenPool
    architectures: int = 6
    blur: float = 0.0
    workers: int = field(default=1, compare=False)
    largest_gradient: float = 1.0
    fewest: int = 64
    _recorded: Recorded | None = field(default=None, init=False, repr=False, compare=False)
    _replicas: Replicas | None = field(default=None, init=False, repr=False, compare=False)
    _seconds: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        """The loss on `batch["images"]` and `batch["labels"]`."""
        numbers = self._numbers(generator, rng)
        seeds = torch.randint(2**62, (len(numbers),), generator=rng).tolist()
        autocast = torch.is_autocast_enabled(batch[IMAGES].device.type)
        blur = self.blur if torch.is_grad_enabled() else 0.0
        jobs = [
            Job(number, seed, batch[IMAGES], batch[LABELS], autocast, blur, self.fewest)
            for number, seed in zip(numbers, seeds, strict=True)
        ]
        device = generator.network.device
        if not torch.is_grad_enabled():
            losses = [float(_loss(self.pool[job.number], generator, job)) for job in jobs]
            return LossRecord(torch.tensor(math.fsum(losses) / len(losses), device=device), {})
        if _is_recorded(generator):
            value, gradient = (total / len(jobs) for total in self._recording(generator).sums(jobs))
        else:
            found = self._found(generator, jobs)
            gradient = torch.stack([one.gradient for one in found]).mean(0)
            value = torch.tensor(math.fsum(one.loss for one in found) / len(found), device=device)
        return LossRecord(_Known.apply(value, gradient, *generator.network.parameters()), {})

    @property
    def peak_memory(self) -> float | None:
        """The most memory in MB that this process and those that work for it have held, each at its own time."""
        own = peak_memory()
        others = [] if self._replicas is None else self._replicas.peaks
        return None if own is None else own + sum(others)

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._replicas is not None:
            self._replicas.close()
            self._replicas = None
        self._recorded = None

    def _numbers(self, generator: Any, rng: torch.Generator) -> list[int]:
        if _is_recorded(generator):
            return dealt(len(self.pool), self.architectures, rng)
        return torch.randint(len(self.pool), (self.architectures,), generator=rng).tolist()

    def _recording(self, generator: Any) -> Recorded:
        if self._recorded is None or self._recorded.stale(generator):
            self._recorded = Recorded(self.pool, generator, self.architectures, self.largest_gradient)
        return self._recorded

    def _found(self, generator: Any, jobs: Sequence[Job]) -> list[Found]:
        if self.workers == 1:
            return [gradient_of(self.pool, self.largest_gradient, generator, job) for job in jobs]
        if self._replicas is None:
            # A pool of their own: what this one has traced would travel with it.
            work = partial(gradient_of, replace(self.pool), self.largest_gradient)
            self._replicas = Replicas(self.workers, self.architectures, generator, work)
        try:
            found = self._replicas.results(jobs, [self._seconds.get(job.number, math.inf) for job in jobs])
        except BaseException:
            self.close()  # answers to these jobs may still come, and must not be taken for those to others
            raise
        self._seconds |= {job.number: one.seconds for job, one in zip(jobs, found, strict=True)}
        return found


def _is_recorded(generator: Any) -> bool:
    return generator.network.device.type == "cuda" and tells_apart(generator)


def gradient_of(pool: ArchitecturePool | ChosenPool, largest: float, generator: Any, job: Job) -> Found:
    """Write the network of a job, measure it, and say how its loss changes with the generator's parameters."""
    prepared, started = pool[job.number], time.perf_counter()
    loss = _loss(prepared, generator, job)
    gradient = clipped_gradient(loss, generator, largest)
    return Found(float(loss.detach()), gradient, time.perf_counter() - started)


def _loss(prepared: Prepared, generator: Any, job: Job) -> Tensor:
    device = generator.network.device
    images, labels = job.shown(prepared, torch.Generator().manual_seed(job.seed))
    images, labels, rng = images.to(device), labels.to(device), torch.Generator().manual_seed(job.seed)
    with torch.autocast(device.type, torch.bfloat16, enabled=job.autocast):
        if tells_apart(generator):
            return loss_of(generator, prepared, random_part(generator, prepared, job, rng), images, labels)
        return measured(prepared, generator.weights(prepared.blueprint, rng), images, labels)


class _Known(torch.autograd.Function):
    """A loss whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradient: Tensor, *parameters: Tensor) -> Tensor:
        ctx.gradients = [
            part.view_as(p) for part, p in zip(gradient.split([p.numel() for p in parameters]), parameters, strict=True)
        ]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *wanted: Any) -> Any:
        return None, None, *(gradient * wanted[0] for gradient in ctx.gradients)
