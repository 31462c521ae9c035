"""Training in phases, of any generator of weights by any objective: resumed where it was stopped, logged, averaged."""

from __future__ import annotations

import contextlib
import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch

from weightsmith.datasets import Dataset
from weightsmith.files import write_bytes
from weightsmith.interfaces import Objective
from weightsmith.interruption import check_interrupted, deferred_signals
from weightsmith.objectives.task import IMAGES, LABELS
from weightsmith.pipeline.metrics import read_metrics
from weightsmith.tensorfile import read_tensors, write_tensors
from weightsmith.training import LoopSettings, Monitor, Trainer, TrainingProgress

LOG, STATE, AVERAGED = "log.jsonl", "state", "averaged.safetensors"
_TIMED = 6  # updates, after as many that start processes and trace


class Shared(Objective, Protocol):
    """An objective that other processes may help to compute."""

    @property
    def peak_memory(self) -> float | None:
        """The most memory in MB that all of them have held."""
        ...

    def close(self) -> None:
        """End them."""
        ...


@dataclass(frozen=True)
class Phase:
    """`updates` of Muon at `rate`, of batches of so many images; a line of the log every `epoch` updates."""

    name: str
    updates: int
    rate: float = 1.5e-3
    schedule: Literal["constant", "cosine"] = "constant"
    batch: int = 256
    epoch: int = 100
    warmup: int = 100

    @property
    def epochs(self) -> int:
        return -(-self.updates // self.epoch)


@dataclass(frozen=True)
class Watched:
    """Monitors of a phase, looked at every so many epochs."""

    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    every: int = 5


class Conducted(NamedTuple):
    """The averaged weights of a phase, and what is known of its course."""

    averaged: Path
    told: Mapping[str, Any]


def conduct(
    phase: Phase, generator: Any, objective: Shared, data: Dataset, folder: Path, watched: Watched | None = None
) -> Conducted:
    """Do what is missing of a phase in `folder`; the generator holds the averaged weights afterwards.

    Raises `Interrupted`, the state saved, where a signal arrives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(objective):
        if not (folder / AVERAGED).exists():
            _train(phase, generator, objective, data, folder, watched or Watched())
    generator.network.load_state_dict(read_tensors(folder / AVERAGED)[0])
    lines = read_metrics(folder / LOG)
    peaks = [line["peak_rss_mb"] for line in lines if line.get("peak_rss_mb")]
    told = {name: lines[-1].get(name) for name in ("seconds", "loss", "device")} if lines else {}
    return Conducted(folder / AVERAGED, {**told, "peak_rss_mb": max(peaks, default=None)})


def device_name(device: torch.device) -> str:
    """`cpu`, or what the GPU calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def seconds_per_update(phase: Phase, generator: Any, objective: Shared, data: Dataset) -> float:
    """How long an update of a phase takes here, measured on a copy of the generator."""
    trial, few = copy.deepcopy(generator), replace(phase, updates=2 * _TIMED, epoch=_TIMED)
    with contextlib.closing(objective):
        trainer = _trainer(few, trial, objective, data, None, Watched())
        before = trainer.run(1).seconds
        return (trainer.run(2).seconds - before) / _TIMED


def _train(
    phase: Phase, generator: Any, objective: Shared, data: Dataset, folder: Path, watched: Watched
) -> TrainingProgress:
    def on_epoch(progress: TrainingProgress) -> None:
        where = {"peak_rss_mb": objective.peak_memory, "device": device_name(generator.network.device)}
        line = json.dumps({"phase": phase.name, **progress.document(), **where})
        with (folder / LOG).open("a") as log:
            log.write(f"{line}\n")
        print(line, file=sys.stderr, flush=True)

    with deferred_signals():
        trainer = _trainer(phase, generator, objective, data, folder, watched, on_epoch)
        _rewind(folder / LOG, trainer.progress.epoch)
        trainer.run(phase.epochs)
        trainer.save()
    progress = trainer.finish()
    write_tensors(folder / AVERAGED, generator.network.state_dict())
    return progress


def _trainer(
    phase: Phase,
    generator: Any,
    objective: Objective,
    data: Dataset,
    folder: Path | None,
    watched: Watched,
    on_epoch: Any = lambda progress: None,
) -> Trainer:
    settings = LoopSettings(
        optimizer="muon",
        schedule=phase.schedule,
        planned_epochs=phase.epochs,
        warmup_updates=phase.warmup,
        clip_norm=1.0,
        ema_decay=0.999,
        updates_per_epoch=phase.epoch,
        skip_nonfinite=20,
        monitor_every=watched.every if watched.monitors else 1,
    )
    device = generator.network.device
    return Trainer(
        generator,
        objective,
        {IMAGES: data.train.images.to(device), LABELS: data.train.labels.to(device)},
        phase.batch,
        phase.rate,
        0,
        None if folder is None else folder / STATE,
        on_epoch,
        check_interrupted,
        settings=settings,
        monitors=watched.monitors,
    )


def _rewind(log: Path, epoch: int) -> None:
    """Forget what a killed process has logged after the state that it saved."""
    kept = [line for line in read_metrics(log) if line["epoch"] <= epoch]
    write_bytes(log, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
