"""Task loss: what the networks that a hypernetwork writes say of images, for architectures drawn anew each update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.environment import peak_memory
from weightsmith.hypernetworks.pool import ArchitecturePool, Prepared
from weightsmith.interfaces import LossRecord
from weightsmith.objectives.replicas import Replicas

IMAGES, LABELS = "images", "labels"
_FEWEST_IMAGES = 64
_CHEAP = 1_500_000  # multiply-adds an image up to which a network sees more of them
_LARGEST_GRADIENT = 1.0


class Job(NamedTuple):
    """One architecture of one update: its number in the pool, the seed of its noise, and the images it is shown.

    `autocast`: whether products are taken in bfloat16, which a process of its own must be told.
    """

    number: int
    seed: int
    images: Tensor
    labels: Tensor
    autocast: bool = False


class Answer(NamedTuple):
    """The loss of one job and, where it was wanted, its clipped gradient as one vector."""

    loss: float
    gradient: Tensor | None


@dataclass
class TaskLoss:
    """Mean cross-entropy of generated networks, `mean_a CE(f_a(x; H(a, noise)), y)`, over architectures from `pool`.

    `architectures` are drawn for each update. The gradient of each is clipped to a norm of one before they are
    averaged, so that one network gone astray does not outvote the others; the loss given back has that gradient.
    `workers` processes share them, which changes no bit where each has one thread. Networks that cost little see up to
    the whole batch of images. Everything is computed where the hypernetwork lies.
    """

    pool: ArchitecturePool
    architectures: int = 4
    workers: int = field(default=1, compare=False)
    _replicas: Replicas | None = field(default=None, init=False, repr=False, compare=False)

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        """The loss on `batch["images"]` and `batch["labels"]`."""
        numbers = torch.randint(len(self.pool), (self.architectures,), generator=rng).tolist()
        seeds = torch.randint(2**62, (len(numbers),), generator=rng).tolist()
        chosen = [self.pool[number] for number in numbers]
        jobs = [self._job(*parts, batch) for parts in zip(numbers, seeds, chosen, strict=True)]
        if torch.is_grad_enabled():
            answers = self._answers(generator, jobs, chosen)
        else:
            answers = [answer(self.pool, False, generator, job) for job in jobs]
        losses = [found.loss for found in answers]
        value = torch.tensor(math.fsum(losses) / len(losses), device=generator.network.device)
        if torch.is_grad_enabled():
            gradient = torch.stack([found.gradient for found in answers if found.gradient is not None]).mean(0)
            value = _Known.apply(value, gradient, *generator.network.parameters())
        return LossRecord(value, {})

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

    def _job(self, number: int, seed: int, prepared: Prepared, batch: Mapping[str, Tensor]) -> Job:
        count = len(batch[LABELS])
        most = min(count, _FEWEST_IMAGES * max(1, _CHEAP // max(prepared.cost, 1)))
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].to(batch[IMAGES].device)
        autocast = torch.is_autocast_enabled(batch[IMAGES].device.type)
        return Job(number, seed, batch[IMAGES][rows], batch[LABELS][rows], autocast)

    def _answers(self, generator: Any, jobs: Sequence[Job], chosen: Sequence[Prepared]) -> list[Answer]:
        if self.workers == 1:
            return [answer(self.pool, True, generator, job) for job in jobs]
        if self._replicas is None:
            # A pool of their own: what this one has traced would travel with it.
            self._replicas = Replicas(self.workers - 1, generator, _Answering(replace(self.pool)))
        try:
            return self._replicas.results(jobs, [_seconds(one) for one in chosen])
        except BaseException:
            self.close()  # answers to these jobs may still come, and must not be taken for those to others
            raise


@dataclass(frozen=True)
class _Answering:
    """`answer` with a pool, as a thing that can be sent to a process."""

    pool: ArchitecturePool

    def __call__(self, generator: Any, job: Job) -> Answer:
        return answer(self.pool, True, generator, job)


def answer(pool: ArchitecturePool, wants_gradient: bool, generator: Any, job: Job) -> Answer:
    """Write the network of a job and measure it."""
    prepared, parameters = pool[job.number], list(generator.network.parameters())
    device = parameters[0].device
    images, labels = job.images.to(device), job.labels.to(device)
    with torch.set_grad_enabled(wants_gradient), torch.autocast(device.type, torch.bfloat16, enabled=job.autocast):
        weights = generator.weights(prepared.blueprint, torch.Generator().manual_seed(job.seed))
        loss = F.cross_entropy(prepared(weights, images).float(), labels)
        if not wants_gradient:
            return Answer(float(loss), None)
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    gradient = torch.cat([g.flatten() for g in found])
    norm = float(gradient.norm())
    if math.isfinite(norm) and norm > _LARGEST_GRADIENT:
        gradient *= _LARGEST_GRADIENT / norm
    return Answer(float(loss.detach()), gradient)


def _seconds(prepared: Prepared) -> float:
    """About how long one takes, in any unit: attention among units, tensors, and the network itself on its images."""
    units, tensors = prepared.blueprint.units, len(prepared.blueprint.tensors)
    own = 64 * max(prepared.cost, _CHEAP) * 3
    return 0.01 + 0.0006 * tensors + 1.4e-4 * units + 1e-8 * units**2 + own / 3e10


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
