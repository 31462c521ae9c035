"""How fast networks are trained and evaluated: ours against the loops that people write, at the same time of day.

Every rate is that of the whole machine: what runs on one core runs once a core, all beginning together.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.flop_counter import FlopCounterMode

from weightsmith.architectures import Architecture
from weightsmith.datasets import Split, load_dataset
from weightsmith.ensemble import Member, TrainingPlan, evaluate
from weightsmith.ensemble.steppers import make_stepper
from weightsmith.layout import Weights

BATCH = 64
ARCHITECTURES = {
    "cnn": Architecture("target_cnn", (1, 28, 28), 10),
    "mlp": Architecture("mlp", (1, 28, 28), 10, {"hidden": [32, 32]}),
}


@dataclass(frozen=True)
class Way:
    """One way to train or evaluate: `processes` of `threads` threads each do `work` at once."""

    name: str
    work: Callable[..., Iterator[int]]
    arguments: tuple[Any, ...]
    processes: int
    threads: int


def rate(way: Way, seconds: float, dataset: str) -> float:
    """Units a second of all processes together, after each has warmed up."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(way.processes), context.Queue()
    workers = [
        context.Process(target=_work, args=(way, seconds, dataset, barrier, results)) for _ in range(way.processes)
    ]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    if None in rates:
        raise RuntimeError(f"{way.name}: a process failed; see above")
    return sum(rates)


def _work(way: Way, seconds: float, dataset: str, barrier: Any, results: Any) -> None:
    try:
        results.put(_rate(way, seconds, dataset, barrier))
    except BaseException:
        barrier.abort()
        results.put(None)
        raise


def _rate(way: Way, seconds: float, dataset: str, barrier: Any) -> float:
    torch.set_num_threads(way.threads)
    units = way.work(load_dataset(dataset), *way.arguments)
    for _ in range(3):
        next(units)
    barrier.wait()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += next(units)
    return done / (time.perf_counter() - started)


# Training. Each yields how many network-steps of 64 images it has done.


def plain_loop(dataset: Any, kind: str) -> Iterator[int]:
    """The loop of every tutorial, float32, with the images in memory as one tensor."""
    network = ARCHITECTURES[kind].build(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images, labels = dataset.train.images, dataset.train.labels
    while True:
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
            yield 1


def loader_loop(dataset: Any, kind: str, workers: int) -> Iterator[int]:
    """The same, its images read one by one and transformed by a `DataLoader`."""
    network = ARCHITECTURES[kind].build(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loader = DataLoader(_OneByOne(dataset.train), BATCH, shuffle=True, num_workers=workers)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            yield 1


class _OneByOne(TorchDataset[tuple[Tensor, Tensor]]):
    """Images as bytes, each made a PIL image, a tensor, and normalised when it is asked for.

    That is what torchvision's `MNIST` with `ToTensor` and `Normalize` does for each image, which cannot be imported
    beside every build of torch.
    """

    def __init__(self, split: Split) -> None:
        low, high = float(split.images.min()), float(split.images.max())
        self._bytes = ((split.images[:, 0] - low) / (high - low) * 255).round().to(torch.uint8).numpy()
        self._labels = split.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = np.array(Image.fromarray(self._bytes[index]), copy=True)
        image = torch.from_numpy(pixels)[:, :, None].permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, std = (torch.as_tensor(value, dtype=image.dtype).view(-1, 1, 1) for value in ([0.1307], [0.3081]))
        return image.clone().sub_(mean).div_(std), self._labels[index]


def ours(dataset: Any, kind: str, method: Any, size: int, precision: Any, shared: bool) -> Iterator[int]:
    """The stepper that builds zoos."""
    modules = [ARCHITECTURES[kind].build(seed) for seed in range(size)]
    plan = TrainingPlan(1, BATCH, "adam", precision, order_seed=0 if shared else None)
    members = [Member(seed, 1e-3) for seed in range(size)]
    stepper = make_stepper(method, modules[0], Weights.of(*modules), dataset.train, plan, members, torch.device("cpu"))
    images = len(dataset.train)
    while True:
        orders = torch.stack([torch.randperm(images) for _ in range(1 if shared else size)])
        for rows in orders.split(BATCH, dim=1):
            stepper.step(rows)
            yield size


# Evaluation. Each yields how many images of single networks it has done.


def plain_evaluation(dataset: Any, kind: str, batch: int) -> Iterator[int]:
    """One network after the other, float32."""
    networks = [ARCHITECTURES[kind].build(seed).eval() for seed in range(8)]
    images, labels = dataset.test.images, dataset.test.labels
    while True:
        for network in networks:
            with torch.no_grad():
                right = sum(
                    int((network(x).argmax(1) == y).sum())
                    for x, y in zip(images.split(batch), labels.split(batch), strict=True)
                )
            assert right >= 0
            yield len(images)


def our_evaluation(dataset: Any, kind: str, networks: int) -> Iterator[int]:
    modules = [ARCHITECTURES[kind].build(seed) for seed in range(networks)]
    weights = Weights.of(*modules)
    while True:
        found = evaluate(modules[0], weights, dataset.test, precision="bf16")
        assert all(evaluation.accuracy >= 0 for evaluation in found)
        yield networks * len(dataset.test)


def gemm_peak(dataset: Any, dtype: torch.dtype) -> Iterator[int]:
    """Large matrix products, in MFLOP."""
    size = 2048
    first, second = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    result = torch.empty(size, size, dtype=dtype)
    while True:
        torch.mm(first, second, out=result)
        yield 2 * size**3 // 1_000_000


def mflop_a_step(kind: str) -> float:
    """Multiplications and additions of one training step of one network on 64 images, in millions."""
    network: nn.Module = ARCHITECTURES[kind].build(0)
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(BATCH, 1, 28, 28)).sum().backward()
    return counter.get_total_flops() / 1e6
