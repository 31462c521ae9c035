"""Evaluate networks: accuracy and loss live here."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightsmith.datasets import Split
from weightsmith.ensemble.arrangement import arranged
from weightsmith.ensemble.chain import Chain
from weightsmith.ensemble.machine import Precision, autocast, dtype_of, placed_images, placed_module
from weightsmith.layout import Weights

STACK = 32  # networks whose first layers are one product: their outputs on a batch stay in the cache
STACK_BATCH = 512  # images at once for them, at least


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

    Multilayer perceptrons are computed many at once. On a CPU, networks are shared out over the cores, one thread each:
    faster than one network on many threads.
    """
    device = torch.device(device)
    chain, labels = Chain.of(module), split.labels
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    if chain is None:
        size, batches = 1, placed_images(split.images, precision, device).split(batch_size)
    else:
        size = min(STACK, -(-len(weights) // workers) or 1)
        batches = _columns(split, max(batch_size, STACK_BATCH), precision, device)

    answers = labels.to(device).split(batches[0].shape[0 if chain is None else 1])

    def some(networks: Weights) -> list[Evaluation]:
        if chain is None:
            outputs = _module_outputs(module, networks, batches, precision, device)
        else:
            outputs = _chain_outputs(chain, networks, batches)
        judged = [_judged(logits, right) for logits, right in zip(outputs, answers, strict=True)]
        predictions, losses = (torch.cat(parts, dim=1).cpu() for parts in zip(*judged, strict=True))
        return [Evaluation(*one, labels) for one in zip(predictions, losses, strict=True)]

    parts = [weights[start : start + size] for start in range(0, len(weights), size)]
    return [evaluation for found in _mapped(some, parts, workers) for evaluation in found]


def _mapped(
    function: Callable[[Weights], list[Evaluation]], parts: Sequence[Weights], workers: int
) -> Iterable[list[Evaluation]]:
    workers = min(workers, len(parts))
    if workers <= 1:
        return map(function, parts)
    with _one_thread_each(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, parts))


def _columns(
    split: Split, batch_size: int, precision: Precision, device: torch.device
) -> tuple[Float[Tensor, "feature image"], ...]:
    images = split.images.to(device, dtype_of(precision)).flatten(1)
    # Not as views: of transposed images, oneDNN's bfloat16 products let a NaN of one network reach its neighbour.
    return tuple(batch.T.contiguous() for batch in images.split(batch_size))


def _judged(
    logits: Float[Tensor, "network class image"], labels: Int[Tensor, " image"]
) -> tuple[Int[Tensor, "network image"], Float[Tensor, "network image"]]:
    """Predictions and losses, while the outputs are still in the cache."""
    losses = F.cross_entropy(logits, labels.expand(len(logits), -1), reduction="none")
    return _first_maximum(logits), losses


def _first_maximum(logits: Float[Tensor, "network class image"]) -> Int[Tensor, "network image"]:
    """What `argmax(dim=1)` gives, several times faster on a CPU: the greatest rank among the classes that are maximal.

    Where outputs are NaN it is the last class.
    """
    classes = logits.shape[1]
    ranks = torch.arange(classes, 0, -1, dtype=torch.int16, device=logits.device)[:, None]
    highest = ((logits == logits.amax(dim=1, keepdim=True)) * ranks).amax(dim=1)
    return (classes - highest).clamp_(max=classes - 1).long()


def _chain_outputs(
    chain: Chain, networks: Weights, batches: Sequence[Tensor]
) -> Iterator[Float[Tensor, "network class image"]]:
    tensors = {name: value.to(batches[0]) for name, value in networks.stacked().items()}
    for batch in batches:
        with torch.inference_mode():
            yield chain.logits(tensors, batch).float()


def _module_outputs(
    module: nn.Module, network: Weights, batches: Sequence[Tensor], precision: Precision, device: torch.device
) -> Iterator[Float[Tensor, "one class image"]]:
    own = copy.deepcopy(module)  # threads evaluate at once, and each needs its own parameters
    own.load_state_dict(network.states()[0])
    own = arranged(placed_module(own.eval(), device))
    for batch in batches:
        with torch.inference_mode(), autocast(precision, device):
            yield own(batch).float().T[None]


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
