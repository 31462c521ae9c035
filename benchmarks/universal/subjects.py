"""What is measured: an architecture of a split, weights written for it, and their accuracy on test images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.universal.kept import Row
from weightsmith.architectures import Architecture
from weightsmith.architectures.families import Split, draw
from weightsmith.datasets import Dataset
from weightsmith.ensemble import Evaluation, evaluate, recalibrated
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed


@dataclass(frozen=True, eq=False)
class Subject:
    """The architecture of one number in a split, for the images of a data set."""

    split: Split
    index: int
    architecture: Architecture

    @classmethod
    def of(cls, split: Split, index: int, data: Dataset) -> Subject:
        return cls(split, index, draw(split, index, data.input_shape, data.classes))

    def built(self, seed: int = 0) -> nn.Module:
        """The network at a standard initialisation, in evaluation mode."""
        return self.architecture.build(derive_seed(seed, "benchmark", self.split, self.index)).eval()

    @cached_property
    def traced(self) -> Traced:
        started = time.perf_counter()
        blueprint = Blueprint.of(ParameterGraph.of(self.built(), self.architecture.input_shape))
        return Traced(blueprint, time.perf_counter() - started)

    @cached_property
    def mark(self) -> str:
        """What tells this architecture from others, also should the families be drawn in another way one day."""
        return self.architecture.fingerprint[:12]

    def key(self) -> Row:
        return {"split": self.split, "index": self.index, "architecture": self.mark}

    def where(self) -> Row:
        return {"split": self.split, "index": self.index, "family": self.architecture.name}

    def about(self) -> Row:
        parameters = sum(p.numel() for p in self.built().parameters())
        return {**self.where(), "options": dict(self.architecture.options), "parameters": parameters}


@dataclass(frozen=True)
class Traced:
    """A blueprint, and how many seconds it took from the module."""

    blueprint: Blueprint
    seconds: float


def written(generator: Any, subject: Subject, seed: int) -> Weights:
    """One network, unselected; what the generator leaves out keeps its standard initialisation."""
    with torch.no_grad():
        tensors = generator.weights(subject.traced.blueprint, torch.Generator().manual_seed(seed))
    return completed(subject.built(), tensors)


def completed(module: nn.Module, tensors: Mapping[str, Tensor]) -> Weights:
    """These tensors, and the module's own for those that are not among them."""
    given = {name: value.detach().float() for name, value in tensors.items()}
    module.load_state_dict({**module.state_dict(), **given})
    return Weights.of(module)


def judged(module: nn.Module, weights: Weights, data: Dataset) -> Evaluation:
    """One network on test images, the statistics of its batch norms measured anew on training images."""
    return evaluate(module, recalibrated(module, weights, data.train), data.test)[0]


def has_statistics(module: nn.Module) -> bool:
    return any(name.endswith("running_mean") for name, _ in module.named_buffers())
