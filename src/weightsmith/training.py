"""The one training loop: any generator, any objective, resumable at any epoch, deterministic from its seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, Diverged
from weightsmith.hashed import fingerprint
from weightsmith.interfaces import Generator, Objective
from weightsmith.optim import OuterProductAdam
from weightsmith.seeds import derive_seed
from weightsmith.tensorfile import read_state, write_state

SAVE_EVERY_SECONDS = 120.0


@dataclass(frozen=True)
class TrainingProgress:
    """Where training is: epochs and updates done, the mean loss of the last epoch, and seconds spent in all."""

    epoch: int
    updates: int
    loss: float
    seconds: float


@dataclass
class Trainer:
    """Minimise `objective(generator, batch, rng)` over `examples {name: [example, ...]}` with Adam.

    An epoch is one permutation of the examples, drawn from `seed` and the epoch's number alone, in batches of
    `batch_size`. With `state_path` the state is saved now and then and when interrupted, and found again.
    """

    generator: Generator
    objective: Objective
    examples: Mapping[str, Tensor]
    batch_size: int
    learning_rate: float
    seed: int
    state_path: Path | None = None
    on_epoch: Callable[[TrainingProgress], None] = lambda progress: None
    check: Callable[[], None] = lambda: None
    progress: TrainingProgress = field(default=TrainingProgress(0, 0, math.nan, 0.0), init=False)

    def __post_init__(self) -> None:
        self.optimizer = OuterProductAdam(self.generator.network, self.learning_rate)
        if self.state_path is not None and self.state_path.exists():
            self._restore(self.state_path)

    def run(self, until_epoch: int) -> TrainingProgress:
        """Train up to `until_epoch` in all. Raises `Diverged` on a loss that is not finite, before it is used."""
        saved, cost = time.monotonic(), 0.0
        while self.progress.epoch < until_epoch:
            try:
                self.check()
            except BaseException:
                self.save()
                raise
            self._epoch(self.progress.epoch + 1)
            if time.monotonic() - saved > max(SAVE_EVERY_SECONDS, 20 * cost):  # saving takes 5 % of the time at most
                before = time.monotonic()
                self.save()
                saved = time.monotonic()
                cost = saved - before
        return self.progress

    def loss(self) -> float:
        """The objective over all examples at once."""
        with torch.no_grad():
            return float(self.objective(self.generator, self.examples, self._rng("loss", 0)).loss)

    def save(self) -> None:
        """Write network, optimizer and counters, from which training goes on bitwise as if never stopped."""
        if self.state_path is None or not self.progress.epoch:  # before the first epoch all follows from the seed
            return
        network = {f"network.{name}": value for name, value in self.generator.network.state_dict().items()}
        optimizer = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        write_state(self.state_path, network | optimizer, {"plan": self._plan(), **self.progress.__dict__})

    def _restore(self, path: Path) -> None:
        tensors, document = read_state(path)
        if document.pop("plan", None) != self._plan():
            raise ArtifactError(f"{path} is the state of another training", "delete it to start again")
        network = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
        self.generator.network.load_state_dict(network)
        self.optimizer.restore({n.removeprefix("optimizer."): t for n, t in tensors.items() if n.startswith("opt")})
        self.progress = TrainingProgress(**document)

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        count = len(next(iter(self.examples.values())))
        losses, rng = [], self._rng("batch", epoch)
        for rows in torch.randperm(count, generator=self._rng("order", epoch)).split(self.batch_size):
            batch = {name: value[rows] for name, value in self.examples.items()}
            record = self.objective(self.generator, batch, rng)
            loss = float(record.loss.detach())
            if not math.isfinite(loss):
                raise Diverged(
                    f"training loss is {loss} in epoch {epoch}; no update was made with it, what was saved stands",
                    "lower training.learning_rate",
                )
            self.optimizer.step(record.loss)
            losses.append(loss * len(rows))
        seconds = self.progress.seconds + time.perf_counter() - started
        updates = self.progress.updates + len(losses)
        self.progress = TrainingProgress(epoch, updates, sum(losses) / count, seconds)
        self.on_epoch(self.progress)

    def _rng(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "training", purpose, epoch))

    def _plan(self) -> str:
        """What must not change between a state and its resumption."""
        shapes: dict[str, Any] = {name: list(value.shape) for name, value in self.examples.items()}
        sums = {name: float(value.cpu().double().sum()) for name, value in self.examples.items()}
        plan = [self.batch_size, self.learning_rate, self.seed, shapes, sums]
        return fingerprint(plan)
