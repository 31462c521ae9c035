"""Architectures that a training is to meet more often: those that are written badly, or whose head is of some kind."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import draw
from weightsmith.errors import BadInput
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.hypernetworks.pool import ArchitecturePool, ChosenPool

AnyPool = ArchitecturePool | ChosenPool


def mined(
    pool: AnyPool, hardest: int, others: int, generator: Any, images: Tensor, labels: Tensor, file: Path,
    workers: int = 1,
) -> ChosenPool:  # fmt: skip
    """Of a pool, so many with the highest loss on these images, and the first `others` of the rest.

    Which ones is written to `file`, and read from there the next time, so that a training goes on with the same.
    """
    if not file.exists():
        measure = partial(loss_of, pool, generator, images, labels)
        with ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)
        ) as processes:
            losses = list(processes.map(measure, range(len(pool)), chunksize=8))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_sealed_json(file, {"numbers": chosen(losses, hardest, others), "losses": losses})
    return ChosenPool(tuple(pool.architecture(number) for number in read_sealed_json(file)["numbers"]))


def chosen(losses: list[float], hardest: int, others: int) -> list[int]:
    """The numbers of the highest losses (one that is not finite is the highest), and the first of the rest."""
    order = sorted(range(len(losses)), key=lambda i: -losses[i] if math.isfinite(losses[i]) else -math.inf)
    return sorted([*order[:hardest], *sorted(order[hardest:])[:others]])


def loss_of(pool: AnyPool, generator: Any, images: Tensor, labels: Tensor, number: int) -> float:
    """The loss of the one network whose noise has the number of its architecture as its seed."""
    one = pool[number]
    with torch.no_grad():
        weights = generator.weights(one.blueprint, torch.Generator().manual_seed(number))
        return float(F.cross_entropy(one(weights, images), labels))


def with_heads(wanted: Mapping[str, int], families: Mapping[str, int], most: int = 100_000) -> ChosenPool:
    """The first of the training split of each kind, so many; a kind is a family and its head, a head, or `other`.

    Raises `BadInput` where the first `most` do not hold as many.
    """
    left, found = dict(wanted), []
    for number in range(most):
        architecture = draw("training", number, families=families)
        kind = next((one for one in _kinds(architecture) if one in wanted), None)
        if kind is not None and left[kind]:
            left[kind] -= 1
            found.append(architecture)
        if not any(left.values()):
            return ChosenPool(tuple(found))
    raise BadInput(f"of the first {most} architectures {left} are missing", "ask for kinds that the families have")


def _kinds(architecture: Architecture) -> tuple[str, ...]:
    head = architecture.options.get("head_kind")
    return (f"{architecture.name} {head}", str(head), "other")
