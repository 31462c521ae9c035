"""What is looked at between epochs: validation, the best weights so far, and the caller's monitors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightsmith.interfaces import Generator, LossRecord
from weightsmith.training.average import WeightAverage
from weightsmith.training.best import BestSoFar
from weightsmith.training.exchange import evaluating, exchanged, named_values
from weightsmith.training.monitors import Monitor, run_monitors
from weightsmith.training.progress import TrainingProgress
from weightsmith.training.settings import LoopSettings


@dataclass(frozen=True)
class Validation:
    """The mean loss over `examples`, in so many `passes`, with the noise that `rng()` starts anew each time."""

    examples: Mapping[str, Tensor]
    objective: Callable[[Mapping[str, Tensor], torch.Generator], LossRecord]
    rng: Callable[[], torch.Generator]
    batch_size: int
    passes: int

    def loss(self) -> float:
        count, rng = len(next(iter(self.examples.values()))), self.rng()
        losses = []
        with torch.no_grad():
            for _ in range(self.passes):
                for rows in torch.arange(count).split(self.batch_size):
                    batch = {name: value[rows] for name, value in self.examples.items()}
                    losses.append(float(self.objective(batch, rng).loss) * len(rows))
        return math.fsum(losses) / (count * self.passes)


class Watch:
    """Validates and monitors the averages where there are any, else the current weights, in evaluation mode."""

    def __init__(
        self,
        generator: Generator,
        settings: LoopSettings,
        average: WeightAverage | None,
        validation: Validation | None,
        monitors: Mapping[str, Monitor],
    ) -> None:
        self._generator, self._settings, self._average = generator, settings, average
        self._validation, self._monitors = validation, monitors
        self.best = BestSoFar(settings.margin)
        self.best_weights: dict[str, Tensor] = {}

    @property
    def stopped(self) -> bool:
        patience = self._settings.patience
        return patience is not None and self.best.waited >= patience

    def chosen(self) -> Mapping[str, Tensor]:
        """The weights to use: the best validated, else the averages; empty where they are the network's own."""
        return self.best_weights or self._averages()

    def look(self, progress: TrainingProgress) -> TrainingProgress:
        """The progress with what was measured, in the epochs that the settings name and the last planned one."""
        settings, ends = self._settings, progress.epoch == self._settings.planned_epochs
        if self._validation is not None and (ends or progress.epoch % settings.validate_every == 0):
            progress = self._validated(progress, self._validation)
        if self._monitors and (ends or progress.epoch % settings.monitor_every == 0):
            with self._used_weights():
                measured, alarms = run_monitors(self._monitors, self._generator, progress)
            progress = replace(progress, monitors=measured, alarms={**progress.alarms, **alarms})
        return progress

    def _validated(self, progress: TrainingProgress, validation: Validation) -> TrainingProgress:
        with self._used_weights():
            loss = validation.loss()
            if self.best.note(loss, progress.epoch):
                self._keep()
        if math.isfinite(loss):
            return replace(progress, validation_loss=loss)
        return replace(progress, alarms={"validation": f"the loss is {loss}"})

    def _keep(self) -> None:
        """Keep the network's values as they are now, in the place of the last ones."""
        values = named_values(self._generator.network)
        if not self.best_weights:
            self.best_weights = {name: torch.empty_like(value) for name, value in values.items()}
        with torch.no_grad():
            for name, kept in self.best_weights.items():
                kept.copy_(values[name])

    def _averages(self) -> Mapping[str, Tensor]:
        return {} if self._average is None else self._average.tensors

    @contextmanager
    def _used_weights(self) -> Iterator[None]:
        with exchanged(self._generator.network, self._averages()), evaluating(self._generator.network):
            yield
