"""Job: what one update asks of one architecture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

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
