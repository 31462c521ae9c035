"""The loop itself: epochs of updates, what is done between them, and the state from which all of it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, BadInput, Diverged
from weightsmith.interfaces import Generator, LossRecord, Objective
from weightsmith.seeds import derive_seed
from weightsmith.training.batches import BatchOrder, count_of
from weightsmith.training.best import BestSoFar
from weightsmith.training.exchange import device_of, exchanged, kept_randomness, named_values, seed_randomness
from weightsmith.training.identity import identity
from weightsmith.training.monitors import Monitor
from weightsmith.training.optimizers import Optimizer
from weightsmith.training.progress import EpochSums, TrainingProgress
from weightsmith.training.settings import LoopSettings
from weightsmith.training.state import Groups, best_document, best_of, read_training_state, write_training_state
from weightsmith.training.updating import Update, Updater
from weightsmith.training.watching import Validation, Watch

SAVE_EVERY_SECONDS = 120.0


@dataclass
class Trainer:
    """Minimise `objective(generator, batch, rng)` over `examples {name: [example, ...]}` as `settings` say.

    An epoch is one pass over the examples, or a number of updates, in an order drawn from `seed` and the epoch alone.
    With `state_path` the state is saved now and then, when interrupted and on divergence, and found again.
    `check` is called before each update, to raise where training is to be interrupted.

    With `validation` examples (of other runs than `examples`), their loss is computed now and then, with noise that is
    the same each time, and the weights of the lowest loss are kept. Whichever weights are to be used (the best
    validated, else the averages, else the current ones) are those of `chosen_weights` and `finish`. `monitors` measure
    what they like of them; what they warn of is told to `on_alarm`, and training goes on.
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
    settings: LoopSettings = LoopSettings()  # noqa: RUF009  frozen
    validation: Mapping[str, Tensor] | None = None
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    on_alarm: Callable[[str], None] = lambda text: None
    progress: TrainingProgress = field(default=TrainingProgress(0, 0, math.nan, 0.0), init=False)

    def __post_init__(self) -> None:
        settings, count = self.settings, count_of(self.examples, "examples")
        self._refuse_meaningless()
        self._order = BatchOrder(count, self.batch_size, settings.updates_per_epoch, self._rng)
        planned = (settings.planned_epochs or 0) * self.updates_per_epoch
        self._updater = Updater(self.generator.network, self.learning_rate, settings, planned)
        self._watch = Watch(self.generator, settings, self._updater.average, self._validation(), self.monitors)
        self._device, self._buffers = device_of(self.generator.network), list(self.generator.network.buffers())
        self._sums, self._noise, self._bad_in_a_row = EpochSums(), self._rng("batch", 1), 0
        self._saved, self._saving = time.monotonic(), 0.0
        if self.state_path is not None:
            self._plan = self._identity()
            if self.state_path.exists():
                self._restore(self.state_path)

    @property
    def optimizer(self) -> Optimizer:
        return self._updater.optimizer

    @property
    def updates_per_epoch(self) -> int:
        return self._order.updates_per_epoch

    @property
    def best(self) -> BestSoFar:
        """The lowest validation loss so far, and its epoch."""
        return self._watch.best

    @property
    def stopped(self) -> bool:
        """Whether validation has not improved for as long as `patience` allows."""
        return self._watch.stopped

    def run(self, until_epoch: int) -> TrainingProgress:
        """Train up to `until_epoch` in all, or until validation stops improving.

        Raises `Diverged` on a loss or gradient that is not finite, before it is used: the network then holds the
        weights of the last good update, and the state of that moment is saved.
        """
        self._saved, self._saving = time.monotonic(), 0.0
        while self.progress.epoch < until_epoch and not self.stopped:
            self._epoch(self.progress.epoch + 1)
            for name, text in self.progress.alarms.items():
                self.on_alarm(f"epoch {self.progress.epoch}: {name}: {text}")
            self.on_epoch(self.progress)
            self._save_now_and_then()
        return self.progress

    def loss(self, most: int | None = None) -> float:
        """The objective over all examples at once, or the first `most`, of the weights to use."""
        examples = {name: value[:most] for name, value in self.examples.items()}
        with torch.no_grad(), self.chosen_weights():
            return float(self._objective(examples, self._rng("loss", 0)).loss)

    @contextmanager
    def chosen_weights(self) -> Iterator[None]:
        """Inside, the network holds the weights to use; after it, those that training goes on with."""
        with exchanged(self.generator.network, self._watch.chosen()):
            yield

    def finish(self) -> TrainingProgress:
        """Leave the network with the weights to use, and as an ordinary network: this training is over."""
        self.optimizer.close()
        values = named_values(self.generator.network)
        with torch.no_grad():
            for name, chosen in self._watch.chosen().items():
                values[name].copy_(chosen)
        return self.progress

    def save(self) -> None:
        """Write all that the rest of training depends on, from which it goes on bitwise as if never stopped."""
        if self.state_path is None or not (self.progress.epoch or self._sums.batches):  # all follows from the seed
            return
        average = self._updater.average
        groups = {
            "network": self.generator.network.state_dict(),
            "optimizer": self.optimizer.tensors(),
            "average": {} if average is None else average.tensors,
            "best": self._watch.best_weights,
            "noise": {"state": self._noise.get_state()},
        }
        document = {
            "progress": self.progress.document(),
            "epoch": asdict(self._sums),
            "bad_in_a_row": self._bad_in_a_row,
            "best": best_document(self.best),
        }
        write_training_state(self.state_path, self._plan, groups, document)

    def _restore(self, path: Path) -> None:
        groups, document = read_training_state(path, self._plan)
        try:
            self._take(groups, document)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ArtifactError(
                f"{path} is whole, and not a state of this version ({reason})",
                "use the version that wrote it, or delete it to start again",
            ) from None

    def _take(self, groups: Groups, document: Mapping[str, Any]) -> None:
        self.generator.network.load_state_dict(groups["network"])
        self.optimizer.restore(groups["optimizer"])
        if self._updater.average is not None:
            self._updater.average.restore(groups["average"])
        self._watch.best_weights = {name: value.to(self._device) for name, value in groups.get("best", {}).items()}
        self._watch.best = best_of(document["best"])
        self._noise.set_state(groups["noise"]["state"])
        self._sums, self._bad_in_a_row = EpochSums(**document["epoch"]), document["bad_in_a_row"]
        self.progress = TrainingProgress.of(document["progress"])

    def _epoch(self, epoch: int) -> None:
        if not self._sums.batches:
            self._noise = self._rng("batch", epoch)
        with kept_randomness(self.generator.network):
            done = self._sums.batches  # before this training was interrupted
            for number, rows in enumerate(self._order.batches(epoch)[done:], done):
                if number > done:
                    self._save_now_and_then()
                self._check()
                started = time.perf_counter()
                self._step(epoch, number, rows)
                self._sums.seconds += time.perf_counter() - started
        started = time.perf_counter()
        progress = self._watch.look(self._epoch_progress(epoch))
        self.optimizer.discard()  # what a monitor may have left of gradients
        self.progress = replace(progress, seconds=progress.seconds + time.perf_counter() - started)
        self._sums = EpochSums()

    def _step(self, epoch: int, number: int, rows: Tensor) -> None:
        """One update, or none where the loss or the gradient is not finite."""
        noise, buffers = self._noise.get_state(), [buffer.clone() for buffer in self._buffers]
        seed_randomness(self._device, derive_seed(self.seed, "training", "network", epoch, number))
        record = self._objective({name: value[rows] for name, value in self.examples.items()}, self._noise)
        update = self._updater.update(record.loss)
        if update.made:
            self._bad_in_a_row = 0
            self._sums.note(update.loss, update.norm, update.clipped, record.parts, len(rows))
            return
        for buffer, good in zip(self._buffers, buffers, strict=True):
            buffer.copy_(good)
        if self._bad_in_a_row >= self.settings.skip_nonfinite:
            self._noise.set_state(noise)
            self.save()
            raise _divergence(update, epoch, self._bad_in_a_row)
        self._bad_in_a_row += 1
        self._sums.leave_out()

    def _epoch_progress(self, epoch: int) -> TrainingProgress:
        sums, settings, optimizer = self._sums, self.settings, self.optimizer
        varies, clips = settings.schedule != "constant" or settings.warmup_updates > 0, settings.clip_norm is not None
        return TrainingProgress(
            epoch,
            optimizer.updates,
            sums.loss,
            self.progress.seconds + sums.seconds,
            learning_rate=optimizer.learning_rate if varies else None,
            gradient_norm=sums.gradient_norm if clips else None,
            clipped_share=sums.clipped_share if clips else None,
            skipped=sums.skipped,
            parts=sums.part_means(),
        )

    def _objective(self, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            return self.objective(self.generator, batch, rng)

    def _check(self) -> None:
        try:
            self.check()
        except BaseException:
            self.save()
            raise

    def _save_now_and_then(self) -> None:
        started = time.monotonic()
        if started - self._saved > max(SAVE_EVERY_SECONDS, 20 * self._saving):  # saving takes 5 % of the time at most
            self.save()
            self._saved = time.monotonic()
            self._saving = self._saved - started

    def _validation(self) -> Validation | None:
        if self.validation is None:
            return None
        passes = self.settings.validation_passes
        return Validation(self.validation, self._objective, lambda: self._rng("validation", 0), self.batch_size, passes)

    def _refuse_meaningless(self) -> None:
        if self.batch_size < 1:
            raise BadInput(f"batch_size={self.batch_size!r} is too small", "use 1 or more")
        if self.validation is not None:
            count_of(self.validation, "validation examples")
        elif self.settings.patience is not None:
            raise BadInput(
                f"patience={self.settings.patience} has no validation to wait for", "give validation examples"
            )

    def _rng(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "training", purpose, epoch))

    def _identity(self) -> str:
        """What must not change between a state and its resumption."""
        network = named_values(self.generator.network)
        return identity(
            network={name: [str(value.dtype), list(value.shape)] for name, value in network.items()},
            objective=self.objective,
            data=[self.examples, self.validation],
            loop=[self.batch_size, self.learning_rate, self.seed, self.settings],
            monitors=sorted(self.monitors),
        )


def _divergence(update: Update, epoch: int, before: int) -> Diverged:
    what = f"gradient norm is {update.norm}" if math.isfinite(update.loss) else f"loss is {update.loss}"
    again = f", as in {before} batches before it" if before else ""
    return Diverged(
        f"training {what} in epoch {epoch}{again}; no update was made with it, what was saved stands",
        "lower training.learning_rate",
    )
