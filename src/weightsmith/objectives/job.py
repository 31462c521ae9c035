"""Job: what one update asks of one architecture, what is random of the network that is written for it, and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from weightsmith.hypernetworks.network import Drawn
from weightsmith.hypernetworks.pool import Prepared

_CHEAP = 1_500_000  # multiply-adds an image up to which a network sees more of them


class Job(NamedTuple):
    """One architecture of one update: its number in the pool, the seed of its noise, and the images of the batch.

    `autocast`: whether products are taken in bfloat16, which a process of its own must be told; `blur`: of what the
    hypernetwork is told of the architecture; `fewest`: images that a costly one sees.
    """

    number: int
    seed: int
    images: Tensor
    labels: Tensor
    autocast: bool = False
    blur: float = 0.0
    fewest: int = 64

    def shown(self, prepared: Prepared, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images and labels that this architecture sees: more where it costs little."""
        most = min(len(self.labels), self.fewest * max(1, _CHEAP // max(prepared.cost, 1)))
        rows = torch.randperm(len(self.labels), generator=rng, device=rng.device)[:most].to(self.images.device)
        return self.images[rows], self.labels[rows]


def tells_apart(generator: Any) -> bool:
    """Whether a generator says apart what is random of a network, as `random_part` and `loss_of` need it."""
    return hasattr(generator, "written") or hasattr(generator, "from_start")


def random_part(generator: Any, prepared: Prepared, job: Job, rng: torch.Generator) -> dict[str, Tensor]:
    """What is random of a job's network, by name: where the generator begins at weights, a fresh initialisation."""
    if hasattr(generator, "from_start"):
        return prepared.start(job.seed)
    drawn: Drawn = generator.drawn(prepared.blueprint, rng, job.blur)
    return drawn._asdict()


def loss_of(generator: Any, prepared: Prepared, drawn: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of the network that follows from what was drawn; no more is random."""
    if hasattr(generator, "from_start"):
        weights = generator.from_start(prepared.blueprint, drawn, torch.Generator())
    else:
        weights = generator.written(prepared.blueprint, Drawn(**drawn))
    return measured(prepared, weights, images, labels)


def measured(prepared: Prepared, weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of a network."""
    return F.cross_entropy(prepared(weights, images).float(), labels)
