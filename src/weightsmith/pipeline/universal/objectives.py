"""What a universal generator can be trained to minimise, by its name in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.interfaces import Objective
from weightsmith.objectives.task import TaskLoss
from weightsmith.settings.universal_section import UniversalSettings


class Shared(Objective, Protocol):
    """An objective that other processes may help to compute."""

    @property
    def peak_memory(self) -> float | None:
        """The most memory in MB that all of them have held."""
        ...

    def close(self) -> None:
        """End them."""
        ...


def _task(pool: ArchitecturePool, settings: UniversalSettings) -> Shared:
    return TaskLoss(pool, settings.architectures, settings.blur, settings.workers, fewest=settings.images)


OBJECTIVES: Mapping[str, Callable[[ArchitecturePool, UniversalSettings], Shared]] = {"task": _task}
