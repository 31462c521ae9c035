"""Architectures drawn at random, each traced when it is first asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import TRAINED, Split, draw
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.extent import Extent


@dataclass(frozen=True, eq=False)
class Prepared:
    """An architecture as training uses it: its form (on the meta device, in training mode), blueprint, and cost.

    `cost`: products and sums for one image. `buffers`: running statistics at their start. `extent`: what training on it
    covers.
    """

    architecture: Architecture
    module: nn.Module
    blueprint: Blueprint
    cost: int
    buffers: dict[str, Tensor]
    extent: Extent
    _elsewhere: dict[torch.device, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, architecture: Architecture) -> Prepared:
        """Trace an architecture."""
        module = architecture.build(0).train()
        graph = ParameterGraph.of(module, architecture.input_shape)
        buffers = {name: value.clone() for name, value in module.named_buffers()}
        blueprint, cost = Blueprint.of(graph), forward_cost(graph)
        return cls(architecture, module.to("meta"), blueprint, cost, buffers, Extent.of(graph))

    def start(self, seed: int) -> dict[str, Tensor]:
        """An initialisation of its own."""
        return {name: value.detach() for name, value in self.architecture.build(seed).named_parameters()}

    def __call__(self, weights: dict[str, Tensor], images: Tensor) -> Tensor:
        """Logits `[image, class]` with these weights; norms over batches use the statistics of these images."""
        if images.device not in self._elsewhere:
            self._elsewhere[images.device] = {name: value.to(images.device) for name, value in self.buffers.items()}
        buffers = {name: value.clone() for name, value in self._elsewhere[images.device].items()}
        logits: Tensor = functional_call(self.module, weights | buffers, (images,))
        return logits


def forward_cost(graph: ParameterGraph) -> int:
    """Multiply-adds of the layers with weights for one input."""
    total = 0
    for operation in graph.operations:
        weight = operation.parameters.get("weight")
        if weight is None or operation.kind not in ("linear", "convolution", "transposed_convolution"):
            continue
        shape = operation.shapes[0]
        positions = math.prod(shape[2:]) if operation.kind != "linear" else math.prod(shape[1:-1])
        total += math.prod(graph.tensors[weight].shape) * positions
    return total


@dataclass
class ArchitecturePool:
    """The first `size` architectures of a split, or of several splits in turn.

    They are for images of `input_shape` (channels, height, width) of so many `classes`; `families` as in `draw`.
    """

    split: Split | tuple[Split, ...]
    size: int
    families: Mapping[str, int] = field(default_factory=lambda: dict(TRAINED))
    input_shape: tuple[int, ...] = (1, 28, 28)
    classes: int = 10
    _known: dict[int, Prepared] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Prepared:
        if number not in self._known:
            self._known[number] = Prepared.of(self.architecture(number))
        return self._known[number]

    def extent(self, number: int) -> Extent:
        """What training on that one covers; it is traced for this alone where nothing else asked for it, and let go."""
        known = self._known.get(number)
        return (Prepared.of(self.architecture(number)) if known is None else known).extent

    def architecture(self, number: int) -> Architecture:
        """The architecture of that number, not traced."""
        splits = (self.split,) if isinstance(self.split, str) else self.split
        index, turn = divmod(number, len(splits))
        return draw(splits[turn], index, self.input_shape, self.classes, self.families)

    def some(self, count: int, rng: torch.Generator) -> list[Prepared]:
        """So many of them at random."""
        return [self[int(number)] for number in torch.randint(self.size, (count,), generator=rng)]


@dataclass
class ChosenPool:
    """Architectures that were chosen, in their order."""

    architectures: tuple[Architecture, ...]
    _known: dict[int, Prepared] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.architectures)

    def __getitem__(self, number: int) -> Prepared:
        if number not in self._known:
            self._known[number] = Prepared.of(self.architectures[number])
        return self._known[number]

    def architecture(self, number: int) -> Architecture:
        """The architecture of that number, not traced."""
        return self.architectures[number]

    def extent(self, number: int) -> Extent:
        """What training on that one covers."""
        return self[number].extent
