"""Training networks by Adam, as the rows beside those of synthesis do: to convergence, or for a few epochs, watched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.universal.budget import Budget
from benchmarks.universal.kept import Kept, Row
from benchmarks.universal.subjects import Subject
from weightsmith.datasets import Dataset
from weightsmith.ensemble import Capture, Member, Precision, TrainingPlan, choose_precision, evaluate, train_networks
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

LEARNING_RATE = 1e-3
BATCH = 128
POINTS = 20  # looks at validation images in an epoch


@dataclass(frozen=True)
class Point:
    """The accuracy on validation images after some epochs, of which a part counts."""

    epoch: float
    accuracy: float


def trained(
    module: nn.Module, start: Weights, data: Dataset, seed: int, epochs: int, rate: float, watch: bool = False
) -> Iterator[Capture]:
    """Networks after every epoch or, watched, after every twentieth of one."""
    steps = -(-len(data.train) // BATCH)
    plan = TrainingPlan(epochs, BATCH, "adam", precision(), max(1, steps // POINTS) if watch else 0)
    return train_networks(module, start, data.train, plan, [Member(seed, rate)])


def curve(
    module: nn.Module, start: Weights, data: Dataset, seed: int, epochs: int, rate: float, enough: float = 2.0
) -> list[Point]:
    """Accuracies on validation images from the start on, until one is `enough`."""
    steps = -(-len(data.train) // BATCH)
    points = [Point(0.0, _validated(module, start, data))]
    if points[0].accuracy >= enough:
        return points
    for capture in trained(module, start, data, seed, epochs, rate, watch=True):
        points.append(Point(capture.step / steps, _validated(module, capture.weights, data)))
        if points[-1].accuracy >= enough:
            break
    return points


def converged(kept: Kept, subject: Subject, data: Dataset, budget: Budget, seed: int, work: Path) -> Row:
    """Trained with early stopping on validation images; the weights of the training split are written, too.

    `wrong` are the numbers of the test images that the best epoch gets wrong, `one_epoch` the accuracy of the first.
    """
    file = file_of(work, subject, seed)
    key = {"part": "converged", "seed": seed, **subject.key()}
    settings = {"epochs": budget.epochs, "patience": budget.patience, "batch": BATCH, "rate": LEARNING_RATE}
    lost = subject.split == "training" and not file.exists()
    return kept.row(lambda: _converge(subject, data, budget, seed, file), again=lost, **key, **settings)


def file_of(work: Path, subject: Subject, seed: int) -> Path:
    """Where the weights of a converged network of the training split are."""
    return work / "trained" / f"{subject.split}-{subject.index}-{subject.mark}-{seed}.pt"


def _converge(subject: Subject, data: Dataset, budget: Budget, seed: int, file: Path) -> Row:
    module, started = subject.built(seed), time.perf_counter()
    best, best_epoch, best_weights, first = -1.0, 0, Weights.of(module), None
    order = derive_seed(seed, "order", subject.split, subject.index)
    for capture in trained(module, best_weights, data, order, budget.epochs, LEARNING_RATE):
        first = capture.weights if first is None else first
        accuracy = _validated(module, capture.weights, data)
        if accuracy > best:
            best, best_epoch, best_weights = accuracy, capture.epoch, capture.weights
        epochs = capture.epoch
        if epochs - best_epoch >= budget.patience:
            break
    seconds = time.perf_counter() - started
    tested, after_one = (evaluate(module, weights, data.test)[0] for weights in (best_weights, first or best_weights))
    if subject.split == "training":
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(best_weights.states()[0], file)
    wrong = (tested.predictions != tested.labels).nonzero()[:, 0].tolist()
    found = {"accuracy": tested.accuracy, "one_epoch": after_one.accuracy, "validation_accuracy": best}
    return {**subject.where(), **found, "epochs": epochs, "best_epoch": best_epoch, "seconds": seconds, "wrong": wrong}


def precision() -> Precision:
    """What networks are trained in here; they are always tested in float32."""
    return choose_precision("auto", torch.device("cpu"))


def _validated(module: nn.Module, weights: Weights, data: Dataset) -> float:
    return evaluate(module, weights, data.validation, precision=precision())[0].accuracy
