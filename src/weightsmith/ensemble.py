"""Train and evaluate networks: channels-last, bfloat16 where the processor has it; accuracy and loss live here."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightsmith.datasets import Split
from weightsmith.errors import BadInput, Diverged
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

Precision = Literal["bf16", "fp32"]


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU when there is one. Raises `BadInput` for a device that this machine lacks."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available.get(name, False):
        raise BadInput(f"device={name} is not on this machine", f"use device=auto or one of {_having(available)}")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bfloat16 where the processor multiplies it natively, else float32."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16() else "fp32"


@dataclass(frozen=True)
class TrainingPlan:
    """How one network is trained: epochs, images a batch, optimizer, learning rate, precision."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    precision: Precision


@dataclass
class TrainingState:
    """Everything that the rest of a run depends on: epochs done, weights and the optimizer's moments."""

    epoch: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    train_loss: float


def train_network(
    module: nn.Module,
    split: Split,
    plan: TrainingPlan,
    seed: int,
    device: torch.device,
    resume: TrainingState | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[TrainingState]:
    """Train `module` in place and yield its state after every epoch.

    The batches of epoch e are a permutation drawn from `seed` and e alone, so a run resumed at any epoch is bitwise the
    uninterrupted one (same processor, precision and threads). `check` is called before every batch and may raise.
    Raises `Diverged` when an epoch's loss is not finite.
    """
    module = _placed(module, device)
    optimizer = _optimizer(module, plan)
    first = 0
    if resume is not None:
        first = resume.epoch
        module.load_state_dict(dict(resume.model))
        optimizer.load_state_dict(dict(resume.optimizer))
    images, labels = _prepared(split.images, plan.precision, device), split.labels.to(device)
    for epoch in range(first + 1, plan.epochs + 1):
        module.train()
        loss = _train_epoch(module, optimizer, images, labels, plan, derive_seed(seed, "order", epoch), check)
        if not math.isfinite(loss):
            raise Diverged(f"loss is {loss} in epoch {epoch}", "lower zoo.learning_rate")
        yield TrainingState(epoch, module.state_dict(), optimizer.state_dict(), loss)


@dataclass(frozen=True)
class Evaluation:
    """What one network does on one split: a prediction and a cross-entropy (nats) an image."""

    predictions: Int[Tensor, " image"]
    losses: Float[Tensor, " image"]
    labels: Int[Tensor, " image"]

    @cached_property
    def accuracy(self) -> float:
        """The share of images whose prediction is their label."""
        return int((self.predictions == self.labels).sum()) / len(self.labels)

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy an image, in nats."""
        return float(self.losses.double().mean())

    @cached_property
    def note_loss(self) -> float:
        """The note's "Avg Loss": `sum_b n_b sum_{i in b} loss_i / N` over batches of 256 images in order.

        Its public code sums the loss over a batch, multiplies by the batch's size once more and divides by the number
        of images: about 256 times the mean cross-entropy.
        """
        return sum(len(batch) * float(batch.double().sum()) for batch in self.losses.split(256)) / len(self.losses)


def evaluate(
    module: nn.Module,
    weights: Weights,
    split: Split,
    *,
    batch_size: int = 128,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
) -> list[Evaluation]:
    """One `Evaluation` a network of `weights`, in evaluation mode; `module` gives the form and is left as it was.

    On a CPU, networks are shared out over the cores, one thread each: faster than one network on many threads.
    """
    device = torch.device(device)
    images, labels = _prepared(split.images, precision, device), split.labels

    def one(network: Weights) -> Evaluation:
        logits = _logits(module, network, images, batch_size, precision, device)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return Evaluation(logits.argmax(dim=1), losses, labels)

    workers = min(torch.get_num_threads(), len(weights)) if device.type == "cpu" else 1
    if workers <= 1:
        return [one(network) for network in weights]
    with _one_thread_each(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(one, weights))


def _logits(
    module: nn.Module, network: Weights, images: Tensor, batch_size: int, precision: Precision, device: torch.device
) -> Float[Tensor, "image class"]:
    own = copy.deepcopy(module)  # threads evaluate at once, and each needs its own parameters
    own.load_state_dict(network.states()[0])
    own = _placed(own.eval(), device)
    with torch.inference_mode(), _autocast(precision, device):
        outputs = [own(batch).float() for batch in images.split(batch_size)]
    return torch.cat(outputs).cpu()


def _train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    plan: TrainingPlan,
    seed: int,
    check: Callable[[], None],
) -> float:
    """One pass over the images; their order and the noise of layers such as dropout follow from `seed`.

    Returns the mean loss an image.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    total = torch.zeros((), device=images.device)
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for rows in order.split(plan.batch_size):
            check()
            with _autocast(plan.precision, images.device):
                outputs = module(images[rows])
            loss = F.cross_entropy(outputs.float(), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
    return float(total) / len(images)


def _optimizer(module: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    if plan.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), plan.learning_rate, fused=True)
    return torch.optim.SGD(module.parameters(), plan.learning_rate, momentum=0.9, fused=True)


def _prepared(
    images: Float[Tensor, "image channel height width"], precision: Precision, device: torch.device
) -> Tensor:
    """All images on the device, in the precision and memory order that the layers want: once, not once a batch."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return images.to(device, dtype).contiguous(memory_format=torch.channels_last)


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs


def _autocast(precision: Precision, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cpu_has_bf16() -> bool:
    """Native bfloat16 products (AVX-512 BF16 or AMX); emulated ones are slower than float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _having(available: Mapping[str, bool]) -> str:
    return ", ".join(name for name, there in available.items() if there)
