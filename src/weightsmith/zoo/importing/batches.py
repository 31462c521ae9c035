"""Batches: how networks are grouped into segments, which must not depend on what an earlier import has stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from weightsmith.hashed import canonical_json
from weightsmith.zoo.importing.sources import Candidate, Unusable

BYTES = 32_000_000  # of networks in memory before they are sealed, which makes some copies of them
ROWS = 1_000
_METADATA = 4  # what is stated of a row is held several times over, and must fit into a segment's header

Item = TypeVar("Item", bound=Candidate | Unusable)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in order, at most `ROWS` and about `BYTES` at a time; an item that is larger is a batch of its own."""
    batch: list[Item] = []
    size = 0
    for item in items:
        cost = _cost(item)
        if batch and (size + cost > BYTES or len(batch) == ROWS):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += cost
    if batch:
        yield batch


def _cost(item: Candidate | Unusable) -> int:
    if isinstance(item, Unusable):
        return 0
    stated = len(canonical_json([dict(item.info.metrics), dict(item.info.extra)]).encode())
    return item.size + _METADATA * stated
