"""Coverage: the data and the range of architectures a universal synthesizer was trained on, and what lies beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightsmith.datasets import Dataset, DatasetRequest
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Extent, Range
from weightsmith.hypernetworks.extent import (
    LAYERS,
    counts_as_seen,
    hidden_layers,
    hidden_units,
    is_learned,
    kernel_sides,
    longest,
    parameters,
    reads_learned_alone,
    said_kind,
)
from weightsmith.reporter import counted

_NAMES = ("operations", "alone", "activations")
_RANGES = (*LAYERS, "kernel", "units", "depth", "parameters")
_LAYERS = {
    "channels": ("a convolution", "channel"),
    "features": ("a linear layer", "unit"),
    "row_features": ("a linear layer over rows", "unit"),
}
_NAMED = 4


@dataclass(frozen=True)
class Excess:
    """Something beyond the trained range: what, what was seen in training, and the tensors that it concerns.

    Without tensors it concerns the whole network.
    """

    what: str
    trained: str
    tensors: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ", ".join(self.tensors[:_NAMED])
        more = f" and {len(self.tensors) - _NAMED} more" if len(self.tensors) > _NAMED else ""
        where = f" ({named}{more})" if named else ""
        return f"{self.what}{where}, where training saw {self.trained}"


@dataclass(frozen=True)
class Coverage:
    """What a universal synthesizer was trained on.

    `dataset`: its name; `image_size`: to which images were resized, if they were; `input_shape` (channels, height,
    width) and `classes` are those of its images. `extent`: what the architectures consisted of.
    """

    dataset: str
    image_size: int | None
    input_shape: tuple[int, ...]
    classes: int
    extent: Extent

    @classmethod
    def of(cls, extents: Iterable[Extent], request: DatasetRequest, data: Dataset) -> Coverage:
        """The coverage of training on images of `data`, which `request` loads, with architectures of these extents."""
        extent = Extent.joined(extents)
        return cls(request.name, request.image_size, tuple(data.input_shape), data.classes, extent)

    @property
    def request(self) -> DatasetRequest:
        """What loads the data set."""
        return DatasetRequest(self.dataset, image_size=self.image_size)

    def beyond(self, graph: ParameterGraph) -> tuple[Excess, ...]:
        """What of an architecture lies beyond the trained range."""
        return (*self._operations(graph), *self._layers(graph), *self._kernels(graph), *self._totals(graph))

    def _operations(self, graph: ParameterGraph) -> Iterator[Excess]:
        """Operations and activations that no architecture of the training had."""
        kinds: dict[str, dict[str, None]] = {}
        activations: dict[str, None] = {}
        for operation in graph.operations:
            learned = [tensor for tensor in operation.parameters.values() if is_learned(graph, tensor)]
            if operation.kind == "activation" and operation.target not in self.extent.activations:
                activations.setdefault(operation.target)
            elif reads_learned_alone(graph, operation) and operation.kind not in self.extent.alone:
                kinds.setdefault(f"{operation.kind!r} on learned tensors alone", {}).update(dict.fromkeys(learned))
            elif said_kind(graph, operation) not in self.extent.operations and counts_as_seen(graph, operation):
                kinds.setdefault(repr(said_kind(graph, operation)), {}).update(dict.fromkeys(learned))
        for kind, tensors in kinds.items():
            yield Excess(f"operation {kind}", "none", tuple(tensors))
        if activations:
            seen = ", ".join(sorted(self.extent.activations)) or "none"
            yield Excess(f"activation {', '.join(map(repr, activations))}", seen)

    def _layers(self, graph: ParameterGraph) -> Iterator[Excess]:
        found: dict[tuple[str, int], list[str]] = {}
        for layer in hidden_layers(graph):
            trained = getattr(self.extent, layer.of)
            if trained is None or layer.units not in trained:
                found.setdefault((layer.of, layer.units), []).append(layer.weight)
        for (of, units), weights in found.items():
            name, unit = _LAYERS[of]
            trained = _said(getattr(self.extent, of))
            yield Excess(f"{name} of {counted(units, unit)}", trained, tuple(dict.fromkeys(weights)))

    def _kernels(self, graph: ParameterGraph) -> Iterator[Excess]:
        trained = self.extent.kernel
        found: dict[str, list[str]] = {}
        for operation in graph.operations:
            sides = kernel_sides(graph, operation)
            if any(trained is None or side not in trained for side in sides):
                found.setdefault("x".join(map(str, sides)), []).append(operation.parameters["weight"])
        for shape, tensors in found.items():
            yield Excess(f"a kernel of {shape}", f"sides of {_said(trained)}", tuple(tensors))

    def _totals(self, graph: ParameterGraph) -> Iterator[Excess]:
        totals = (
            (hidden_units(graph), "units in all", self.extent.units),
            (longest(graph), "layers with weights in a row", self.extent.depth),
            (parameters(graph), "parameters", self.extent.parameters),
        )
        for count, what, trained in totals:
            if count not in trained:
                yield Excess(f"{count:,} {what}", str(trained))

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        extent = document.pop("extent")
        names = {key: sorted(extent[key]) for key in _NAMES}
        ranges = {key: None if extent[key] is None else list(extent[key]) for key in _RANGES}
        return {**document, "input_shape": list(self.input_shape), **names, **ranges}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Coverage:
        """Read what `to_json` wrote, once it was checked to be of that form."""
        extent: dict[str, Any] = {key: frozenset(document[key]) for key in _NAMES}
        extent |= {key: None if document[key] is None else _ordered(document[key]) for key in _RANGES}
        images = {key: document[key] for key in ("dataset", "image_size", "classes")}
        return cls(**images, input_shape=tuple(document["input_shape"]), extent=Extent(**extent))


def _ordered(span: Sequence[int]) -> Range:
    if span[0] > span[1]:
        raise ValueError(f"a range from {span[0]} to {span[1]}")
    return Range(*span)


def _said(trained: Range | None) -> str:
    return "none" if trained is None else str(trained)
