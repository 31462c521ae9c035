"""The records: a request for a data set, a split of it, and the data set."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class DatasetRequest:
    """What identifies a data set to any process: its name or path, how it is split, and the size of its images."""

    name: str = "mnist"
    validation: int = 5000
    seed: int = 0
    image_size: int | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Normalised images, float32 `[image, channel, height, width]`, and their labels, int64 `[image]`."""

    images: Float[Tensor, "image channel height width"]
    labels: Int[Tensor, " image"]

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int) -> Split:
        """The first `count` images, or all where there are fewer."""
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True, eq=False)
class Dataset:
    """`train` fits networks, `validation` (cut from train, by seed) is for selection, `test` is only ever reported.

    `input_shape` is (channels, height, width); `fingerprint` a SHA-256 of the raw bytes and of all that was done to
    them; `source` says what it is and where it is from; `active_inputs` marks the pixels that vary in `train`.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    input_shape: tuple[int, int, int]
    fingerprint: str
    source: str
    active_inputs: Bool[Tensor, "channel height width"]
