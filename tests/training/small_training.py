"""A small denoising task with noise and dropout, and trainers of it: what the tests of the loop share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightsmith.interfaces import LossRecord
from weightsmith.training import LoopSettings, Trainer


class Denoiser:
    """A generator as far as training is concerned."""

    def __init__(self, dropout: float = 0.0, norm: bool = False) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            middle = [nn.BatchNorm1d(8)] if norm else []
            self.network: nn.Module = nn.Sequential(
                nn.Linear(3, 8), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)
            )


def denoising_loss(generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
    clean = batch["clean"]
    noisy = clean + torch.randn(clean.shape, generator=rng)
    loss = (generator.network(noisy) - clean).square().mean()
    return LossRecord(loss, {"root": float(loss.detach().sqrt())})


def examples(count: int, seed: int = 0) -> dict[str, Tensor]:
    return {"clean": torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + 2}


EVERYTHING = LoopSettings(
    optimizer="adamw",
    weight_decay=0.01,
    schedule="cosine",
    planned_epochs=12,
    warmup_updates=5,
    floor=0.1,
    clip_norm=1.0,
    ema_decay=0.9,
    validate_every=2,
    validation_passes=2,
    patience=4,
    margin=0.001,
    monitor_every=3,
)


def make(settings: LoopSettings = EVERYTHING, state: Path | None = None, **changes: Any) -> Trainer:
    dropout, norm = changes.pop("dropout", 0.2), changes.pop("norm", False)
    options: dict[str, Any] = {
        "examples": examples(8),
        "validation": examples(5, 1) if settings.patience else None,
        "batch_size": 3,  # so that the last batch is smaller
        "learning_rate": 0.02,
        "seed": 5,
    }
    return Trainer(Denoiser(dropout, norm), denoising_loss, state_path=state, settings=settings, **options | changes)


def values(of: Trainer) -> dict[str, Tensor]:
    """A copy of every weight, buffer and moment, of the averages and of the best weights."""
    found = dict(of.generator.network.state_dict())
    found |= {f"optimizer.{name}": value for name, value in of.optimizer.tensors().items()}
    with of.chosen_weights():
        found |= {f"chosen.{name}": value.clone() for name, value in of.generator.network.state_dict().items()}
    average = of._updater.average
    found |= {f"average.{name}": value for name, value in (average.tensors if average else {}).items()}
    return {name: value.clone() for name, value in found.items()}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
