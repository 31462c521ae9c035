"""Images moved by a pixel or two while a generator learns: gentle augmentation, in front of any objective of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.interfaces import LossRecord
from weightsmith.objectives.task import IMAGES, TaskLoss


@dataclass(frozen=True)
class Shifted:
    """`task(shifted(images), labels)`: each image moves by up to `pixels` either way with probability `share`.

    A loss that is only measured, without gradient, is of the images as they are. Raises `BadInput` for fewer pixels
    than one, and for a share out of range.
    """

    task: TaskLoss
    pixels: int = 1
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise BadInput(f"a shift of {self.pixels} pixels is none", "use 1 or 2, or leave it out")
        if not 0 < self.share <= 1:
            raise BadInput(f"a share of {self.share} of the images is shifted", "use more than 0, and 1 at most")

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        """The loss of the task on a batch of its examples."""
        if not torch.is_grad_enabled():
            return self.task(generator, batch, rng)
        return self.task(generator, {**batch, IMAGES: shifted(batch[IMAGES], self.pixels, self.share, rng)}, rng)

    @property
    def peak_memory(self) -> float | None:
        """That of the task, in MB."""
        return self.task.peak_memory

    def close(self) -> None:
        """End the processes of the task."""
        self.task.close()


def shifted(
    images: Float[Tensor, "image channel height width"], pixels: int, share: float, rng: torch.Generator
) -> Float[Tensor, "image channel height width"]:
    """Each image moved by whole pixels, uniform from `-pixels` to `pixels` along both axes, with probability `share`.

    What comes in at a side repeats the pixels of that side.
    """
    count, _, height, width = images.shape
    moves = torch.randint(2 * pixels + 1, (count, 2), generator=rng)
    moves = torch.where(torch.rand(count, 1, generator=rng) < share, moves, pixels).to(images.device)
    windows = F.pad(images, (pixels,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, moves[:, 0], moves[:, 1]].contiguous()
