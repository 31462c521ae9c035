"""Coverage: the data and the range of architectures a universal synthesizer was trained on, and what lies beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightsmith.datasets import Dataset, DatasetRequest
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint, Extent, Range
from weightsmith.hypernetworks.extent import counts_as_seen, kernel_sides, layer_units, parameters
from weightsmith.reporter import counted

_RANGES = ("layer_units", "kernel", "units", "depth", "parameters")
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

    def beyond(self, graph: ParameterGraph, blueprint: Blueprint) -> tuple[Excess, ...]:
        """What of an architecture lies beyond the trained range."""
        return (
            *self._operations(graph),
            *self._layers(blueprint),
            *self._kernels(graph),
            *self._totals(graph, blueprint),
        )

    def _operations(self, graph: ParameterGraph) -> Iterator[Excess]:
        """Operations and activations that no architecture of the training had."""
        kinds: dict[str, dict[str, None]] = {}
        activations: dict[str, None] = {}
        for operation in graph.operations:
            if operation.kind == "activation" and operation.target not in self.extent.activations:
                activations.setdefault(operation.target)
            elif operation.kind not in self.extent.operations and counts_as_seen(graph, operation):
                learned = [tensor for tensor in operation.parameters.values() if _is_learned(graph, tensor)]
                kinds.setdefault(operation.kind, {}).update(dict.fromkeys(learned))
        for kind, tensors in kinds.items():
            yield Excess(f"operation {kind!r}", "none", tuple(tensors))
        if activations:
            seen = ", ".join(sorted(self.extent.activations)) or "none"
            yield Excess(f"activation {', '.join(map(repr, activations))}", seen)

    def _layers(self, blueprint: Blueprint) -> Iterator[Excess]:
        trained = self.extent.layer_units
        for space, count in enumerate(layer_units(blueprint)):
            if trained is None or count not in trained:
                at = blueprint.writes[space] if bool(blueprint.writes[space].any()) else blueprint.reads[space]
                tensors = tuple(blueprint.tensors[number].names[0] for number in at.nonzero()[:, 0].tolist())
                yield Excess(f"a layer of {counted(count, 'unit')}", _said(trained), tensors)

    def _kernels(self, graph: ParameterGraph) -> Iterator[Excess]:
        trained = self.extent.kernel
        found: dict[str, list[str]] = {}
        for operation in graph.operations:
            sides = kernel_sides(graph, operation)
            if any(trained is None or side not in trained for side in sides):
                found.setdefault("x".join(map(str, sides)), []).append(operation.parameters["weight"])
        for shape, tensors in found.items():
            yield Excess(f"a kernel of {shape}", f"sides of {_said(trained)}", tuple(tensors))

    def _totals(self, graph: ParameterGraph, blueprint: Blueprint) -> Iterator[Excess]:
        depth = max((operation.depth for operation in graph.operations), default=0)
        totals = (
            (blueprint.units, "units in all", self.extent.units),
            (depth, "layers with weights in a row", self.extent.depth),
            (parameters(graph), "parameters", self.extent.parameters),
        )
        for count, what, trained in totals:
            if count not in trained:
                yield Excess(f"{count:,} {what}", str(trained))

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        extent = document.pop("extent")
        names = {key: sorted(extent[key]) for key in ("operations", "activations")}
        ranges = {key: None if extent[key] is None else list(extent[key]) for key in _RANGES}
        return {**document, "input_shape": list(self.input_shape), **names, **ranges}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Coverage:
        """Read what `to_json` wrote, once it was checked to be of that form."""
        extent: dict[str, Any] = {key: frozenset(document[key]) for key in ("operations", "activations")}
        extent |= {key: None if document[key] is None else _ordered(document[key]) for key in _RANGES}
        images = {key: document[key] for key in ("dataset", "image_size", "classes")}
        return cls(**images, input_shape=tuple(document["input_shape"]), extent=Extent(**extent))


def _is_learned(graph: ParameterGraph, tensor: str) -> bool:
    return tensor in graph.tensors and graph.tensors[tensor].role != "buffer"


def _ordered(span: Sequence[int]) -> Range:
    if span[0] > span[1]:
        raise ValueError(f"a range from {span[0]} to {span[1]}")
    return Range(*span)


def _said(trained: Range | None) -> str:
    return "none" if trained is None else str(trained)
