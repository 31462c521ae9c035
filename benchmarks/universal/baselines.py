"""What else gives weights to an architecture: chance, a solved head, a network of a zoo, or training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.universal import training
from benchmarks.universal.budget import Budget
from benchmarks.universal.fitting import option_distance, transplanted
from benchmarks.universal.kept import Kept, Progress, Row, described
from benchmarks.universal.ridge import RidgeSums
from benchmarks.universal.subjects import Subject, completed, judged
from weightsmith.architectures.families import AUXILIARY, SPLITS
from weightsmith.datasets import Dataset
from weightsmith.ensemble import recalibrated
from weightsmith.errors import BadInput
from weightsmith.layout import Weights
from weightsmith.settings.options import validate_options

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
NEAREST_FAMILY = {"separable": "residual", "mixer": "vit"}  # of those that no network was trained of
CHEAP = ("random_init", "ridge_head", "nearest_zoo")
_BATCH = 500  # images that a network is run on at once
_SUMMED = 5000  # and those whose features are summed at once


@dataclass(frozen=True)
class Bench:
    """What every baseline works with."""

    kept: Kept
    data: Dataset
    budget: Budget
    work: Path


def cheap(method: str, bench: Bench) -> list[Row]:
    """One of `CHEAP`, of every architecture of every split."""
    measure: dict[str, Callable[[Subject], Row]] = {
        "random_init": lambda subject: random_init(subject, bench),
        "ridge_head": lambda subject: ridge_head(subject, bench),
        "nearest_zoo": lambda subject: nearest_zoo(subject, bench, donors(bench)),
    }
    settings = {
        "random_init": {},
        "ridge_head": {"images": bench.budget.ridge_images},
        "nearest_zoo": {"zoo": bench.budget.zoo, "epochs": bench.budget.epochs, "patience": bench.budget.patience},
    }
    wanted = bench.kept.share.of_all(itertools.product(SPLITS, range(bench.budget.architectures)))
    progress, rows = Progress(method, len(wanted)), []
    for split, index in wanted:
        subject = Subject.of(split, index, bench.data)
        found = bench.kept.row(partial(measure[method], subject), part=method, **settings[method], **subject.key())
        rows.append({"kind": "accuracy", "method": method, **found})
        progress.done(f"{described(rows[-1])} {found['accuracy']:.4f}")
    return rows


def random_init(subject: Subject, bench: Bench) -> Row:
    module = subject.built()
    return {**subject.where(), "accuracy": judged(module, Weights.of(module), bench.data).accuracy}


def ridge_head(subject: Subject, bench: Bench) -> Row:
    """The last linear layer solved on features of the random rest; the penalty is chosen on validation images."""
    module, data = subject.built(), bench.data
    module.load_state_dict(recalibrated(module, Weights.of(module), data.train).states()[0])
    head, some = last_linear(module), data.train.head(bench.budget.ridge_images)
    sums = RidgeSums(head.in_features, head.out_features)
    for images, labels in zip(some.images.split(_SUMMED), some.labels.split(_SUMMED), strict=True):
        sums.add(_all_features(module, head, images), F.one_hot(labels, data.classes).float())
    seen = _all_features(module, head, data.validation.images)
    found = []
    for penalty in PENALTIES:
        weight, bias = sums.solved(penalty)
        right = ((seen @ weight.T + bias).argmax(1) == data.validation.labels).sum()
        found.append((int(right), penalty, weight, bias))
    _, penalty, weight, bias = max(found, key=lambda one: one[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return {**subject.where(), "accuracy": judged(module, Weights.of(module), data).accuracy, "penalty": penalty}


def last_linear(module: nn.Module) -> nn.Linear:
    """The head. Raises `BadInput` for a network that does not end in a linear layer."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise BadInput("the network has no linear layer", "give one that ends in a linear head")
    return layers[-1]


def features(module: nn.Module, head: nn.Linear, images: Tensor) -> Tensor:
    """What the head reads of images, `[image, feature]`."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            module(images)
    finally:
        handle.remove()
    return seen[0]


def _all_features(module: nn.Module, head: nn.Linear, images: Tensor) -> Tensor:
    return torch.cat([features(module, head, batch) for batch in images.split(_BATCH)])


@dataclass(frozen=True)
class Donor:
    """A trained network of the training split."""

    subject: Subject
    file: Path


def donors(bench: Bench) -> list[Donor]:
    """The zoo. Raises `BadInput` while it is not trained."""
    found = []
    for subject in itertools.islice(_measured_families(bench.data), bench.budget.zoo):
        file = training.file_of(bench.work, subject, 0)
        if not file.exists():
            raise BadInput(f"network {subject.index} of the zoo is not trained", "run --parts trained first")
        found.append(Donor(subject, file))
    return found


def nearest_zoo(subject: Subject, bench: Bench, zoo: list[Donor]) -> Row:
    """The nearest trained network of its family, other than itself, cut or tiled to fit."""
    family = NEAREST_FAMILY.get(subject.architecture.name, subject.architecture.name)
    own = _options(subject)
    others = [one for one in zoo if one.subject.where() != subject.where()]
    candidates = [one for one in others if one.subject.architecture.name == family]
    candidates = candidates or others  # a zoo so small that it has none of the family
    if not candidates:
        raise BadInput("the zoo holds no network but this one", "train more: --zoo 20")
    distances = [option_distance(own, _options(one.subject)) for one in candidates]
    nearest = min(range(len(candidates)), key=lambda i: distances[i])
    donor = candidates[nearest]
    module, state = subject.built(), torch.load(donor.file, weights_only=True)
    given = transplanted(module, donor.subject.built(), state)
    missing = sum(name not in given for name, value in module.named_parameters())
    accuracy = judged(module, completed(module, given), bench.data).accuracy
    about = {"donor": donor.subject.index, "option_distance": distances[nearest], "tensors_missing": missing}
    return {**subject.where(), "accuracy": accuracy, **about}


def _measured_families(data: Dataset) -> Iterator[Subject]:
    """Of the training split, those of families that are measured: auxiliary ones are nearest to none of them."""
    for index in itertools.count():
        subject = Subject.of("training", index, data)
        if subject.architecture.name not in AUXILIARY:
            yield subject


def trained(bench: Bench) -> list[Row]:
    """Rows of `converged`, and of its first epoch as `one_epoch`, of so many architectures a split, and of the zoo.

    Not of `beyond`, whose large networks would take longer than all others together.
    """
    count, others = bench.budget.trained, [split for split in SPLITS if split not in ("training", "beyond")]
    zoo = itertools.islice(_measured_families(bench.data), max(count, bench.budget.zoo))
    every = [*(Subject.of(split, i, bench.data) for split in others for i in range(count)), *zoo]
    wanted = bench.kept.share.of_all(every)
    progress, rows = Progress("trained", len(wanted)), []
    for subject in wanted:
        found = training.converged(bench.kept, subject, bench.data, bench.budget, 0, bench.work)
        about = {key: value for key, value in found.items() if key not in ("wrong", "one_epoch", "accuracy")}
        rows.append({"kind": "accuracy", "method": "converged", "accuracy": found["accuracy"], **about})
        rows.append({"kind": "accuracy", "method": "one_epoch", "accuracy": found["one_epoch"], **subject.where()})
        progress.done(f"{described(rows[-2])} {found['accuracy']:.4f} in {found['seconds']:.0f} s")
    return rows


def _options(subject: Subject) -> dict[str, Any]:
    return validate_options("architecture", subject.architecture.name, dict(subject.architecture.options))
