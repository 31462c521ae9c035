"""The flow: what every operation asks of the axes of its values and tensors, gathered over a whole graph."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axes, Axis, Found
from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.spaces import Space
from weightsmith.graph.trace import Trace


@dataclass
class Piece:
    """Rows of a tensor (`None`: all) with what is known of each axis; a grouped convolution has a piece a group.

    `extra`: further scales of an axis, as a depthwise kernel's of the inputs, on the axis of its outputs.
    """

    rows: tuple[int, int] | None
    axes: Axes
    extra: list[tuple[int, Space]] = field(default_factory=list)


Rule = Callable[["Flow", Operation], Found | None]


class Flow:
    """The state of the walk: axes of every value and pieces of every tensor so far."""

    def __init__(self, trace: Trace, movable: Mapping[str, tuple[int, ...]], unscaled: Container[str] = ()) -> None:
        """`movable`: shapes of the tensors that may be permuted or scaled at all; others are constants.

        `unscaled`: those of them that keep their scales.
        """
        made = {name: ax.free(shape) for name, shape in movable.items()}
        self.pieces = {
            name: [Piece(None, frozen_scales(axes) if name in unscaled else axes)] for name, axes in made.items()
        }
        self.not_understood: list[Operation] = []
        self._readers = Counter(value.name for op in trace.operations for value in op.values)
        self._readers.update(value.name for value in trace.outputs)
        self._items = {
            (next(op.values).name, op.arguments["argument1"])
            for op in trace.operations
            if op.kind == "item" and self._readers[op.name]
        }
        self._zeros = {op.name for op in trace.operations if op.kind == "constant" and "zeros" in op.target}
        self._found: dict[str, Found] = {value.name: ax.frozen(value.shape) for value in trace.inputs}

    @classmethod
    def through(
        cls,
        trace: Trace,
        movable: Mapping[str, tuple[int, ...]],
        rules: Mapping[str, Rule],
        unscaled: Container[str] = (),
    ) -> Flow:
        """Walk a trace. Units and scales that reach inputs, outputs or what is not understood come out frozen."""
        flow = cls(trace, movable, unscaled)
        for operation in trace.operations:
            flow._visit(operation, rules)
        for output in trace.outputs:
            flow.freeze(output)
        flow._settle()
        return flow

    def _settle(self) -> None:
        """What cannot be said of stretches of an axis is frozen, until nothing is left of it."""
        pieces = [piece for pieces in self.pieces.values() for piece in pieces]
        every = [space for p in pieces for space in (*itertools.chain(*p.axes), *(extra for _, extra in p.extra))]
        while sum(spaces.settle(space) for space in every):
            pass

    def axes(self, value: Value) -> Axes:
        """The axes of one value; a tensor in pieces, or a constant, is frozen."""
        if value.source == "tensor" and value.name in self.pieces:
            pieces = self.pieces[value.name]
            if len(pieces) == 1 and not pieces[0].extra:
                return pieces[0].axes
            self.freeze(value)
        found = self._found.get(value.name) if value.source in ("input", "operation") else None
        if found is None or (found and isinstance(found[0], list)):
            return ax.frozen(value.shape)
        return list(found)  # type: ignore[arg-type]

    def outputs(self, value: Value) -> Sequence[Axes]:
        """The axes of each output of an operation that has several."""
        found = self._found[value.name]
        return found if found and isinstance(found[0], list) else [found]  # type: ignore[list-item]

    def is_read(self, operation: Operation, output: int) -> bool:
        """Whether anything reads that output of an operation that has several."""
        return (operation.name, output) in self._items

    def is_zero(self, value: Value) -> bool:
        """Whether a value is made to be zero everywhere, and so is the same in any order and at any scale."""
        return value.source == "operation" and value.name in self._zeros

    def whole(self, value: Value) -> Piece | None:
        """The piece of a tensor that one operation alone reads, so that it may be cut; `None` for any other value."""
        pieces = self.pieces.get(value.name, []) if value.source == "tensor" else []
        return pieces[0] if len(pieces) == 1 and self._readers[value.name] == 1 else None

    def cut_rows(self, value: Value, count: int) -> list[Axes]:
        """Cut a whole tensor into equally many rows a piece, each with free axes of its own."""
        rows, *others = value.shape
        height = rows // count
        self.pieces[value.name] = [
            Piece((i * height, (i + 1) * height), ax.free([height, *others])) for i in range(count)
        ]
        return [piece.axes for piece in self.pieces[value.name]]

    def freeze(self, value: Value) -> None:
        """Freeze everything about a value."""
        if value.source == "tensor":
            for piece in self.pieces.get(value.name, []):
                ax.freeze(*piece.axes)
                for _, space in piece.extra:
                    spaces.freeze(space)
        elif value.name in self._found:
            for axes in self.outputs(value):
                ax.freeze(*axes)

    def _visit(self, operation: Operation, rules: Mapping[str, Rule]) -> None:
        rule = rules.get(operation.kind)
        found = rule(self, operation) if rule is not None and not _is_dynamic(operation) else None
        if found is None:
            self.not_understood.append(operation)
            for value in operation.values:
                self.freeze(value)
            frozen = [ax.frozen(shape) for shape in operation.shapes]
            found = frozen[0] if len(frozen) == 1 else frozen
        self._found[operation.name] = found


def _is_dynamic(operation: Operation) -> bool:
    shapes = [*operation.shapes, *(value.shape for value in operation.values)]
    return any(size < 0 for shape in shapes for size in shape)


def frozen_scales(axes: Sequence[Axis]) -> Axes:
    return [axis.unscaled for axis in axes]
