"""Which examples each update sees: a function of seed and epoch alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from weightsmith.errors import BadInput

BLOCK_BATCHES = 16  # passes over few examples are drawn together, until there are about so many batches of them


def count_of(examples: Mapping[str, Tensor], what: str) -> int:
    """How many examples there are. Raises `BadInput` for none, and for tensors that do not agree."""
    counts = {name: len(value) for name, value in examples.items()}
    if len(set(counts.values())) != 1:
        raise BadInput(f"{what} hold {counts or 'nothing'}", "give tensors with one entry an example")
    count = next(iter(counts.values()))
    if not count:
        raise BadInput(f"there are no {what}", "give one at least")
    return count


class BatchOrder:
    """The rows of `count` examples in every batch of every epoch.

    Without `updates`, an epoch is one permutation of the examples in batches of `batch_size`, the last of them smaller
    where it does not divide. With it, permutations stand end to end in a stream that epochs go on with: an epoch
    is `updates` batches, all of them full, so that one example fills a batch, and many wait for later epochs.
    `rng(purpose, number)` gives the randomness of each permutation.
    """

    def __init__(
        self, count: int, batch_size: int, updates: int | None, rng: Callable[[str, int], torch.Generator]
    ) -> None:
        self._count, self._batch_size, self._updates, self._rng = count, batch_size, updates, rng
        self._passes = math.ceil(BLOCK_BATCHES * batch_size / count)
        self._last: tuple[int, Tensor] | None = None

    @property
    def updates_per_epoch(self) -> int:
        return self._updates or math.ceil(self._count / self._batch_size)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """The rows of each batch of epoch 1, 2, ..."""
        if self._updates is None:
            return torch.randperm(self._count, generator=self._rng("order", epoch)).split(self._batch_size)
        length, size = self._updates * self._batch_size, self._passes * self._count
        start = (epoch - 1) * length
        first, last = start // size, (start + length - 1) // size
        stream = torch.cat([self._block(block) for block in range(first, last + 1)])
        return stream[start - first * size :][:length].split(self._batch_size)

    def _block(self, block: int) -> Tensor:
        """Some passes over the examples, each a permutation of its own; the last one drawn is kept for the next."""
        if self._last is None or self._last[0] != block:
            rng = self._rng("order", block + 1)
            if self._passes == 1:
                rows = torch.randperm(self._count, generator=rng)
            else:
                keys = torch.rand(self._passes, self._count, generator=rng, dtype=torch.float64)
                rows = keys.argsort(dim=1).flatten()
            self._last = block, rows
        return self._last[1]
