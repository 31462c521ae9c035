"""The nodes of a parameter graph: values that flow, operations on them, and what each tensor of the state is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weightsmith.layout import Role

Source = Literal["input", "operation", "tensor", "constant"]


@dataclass(frozen=True)
class Value:
    """Something an operation reads: an input, another operation's output, a tensor of the state dict, or a constant.

    `shape` is that of the example (its first axis is the batch), -1 where it depends on data, and `()` for an operation
    of several outputs, which are read through operations of kind `item`.
    """

    name: str
    source: Source
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation: `kind` in our vocabulary, `target` in PyTorch's, and everything it was called with, by name.

    Values among `arguments` are the incoming edges; the rest are its options (stride, padding, dilation, groups, ...).
    `shapes` are those of its outputs; `depth` counts the operations with learned weights on the longest path to it.
    """

    name: str
    kind: str
    target: str
    arguments: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    depth: int

    @property
    def values(self) -> Iterator[Value]:
        """Every value that it reads, in the order of its arguments."""
        for argument in self.arguments.values():
            yield from (v for v in (argument if isinstance(argument, tuple) else (argument,)) if isinstance(v, Value))

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The values that depend on the network's input, in order."""
        return tuple(value for value in self.values if value.source in ("input", "operation"))

    @property
    def parameters(self) -> dict[str, str]:
        """Its tensors: argument (`weight`, `bias`, `running_mean`, ...) to the name in the state dict."""
        found: dict[str, str] = {}
        for slot, argument in self.arguments.items():
            parts = (
                {f"{slot}[{i}]": p for i, p in enumerate(argument)} if isinstance(argument, tuple) else {slot: argument}
            )
            found |= {name: p.name for name, p in parts.items() if isinstance(p, Value) and p.source == "tensor"}
        return found

    @property
    def options(self) -> dict[str, Any]:
        """What it was called with besides values, defaults included."""
        read = set(self.values)
        return {
            slot: argument
            for slot, argument in self.arguments.items()
            if read.isdisjoint(argument if isinstance(argument, tuple) else (argument,))
        }


@dataclass(frozen=True)
class TensorNode:
    """What one floating tensor of the state dict is for.

    `names`: itself and the names it is tied to. `slot`: the argument of its first operation that it is. `unit_axis`
    runs over output units, `input_axis` over what each of them reads; `None` where there is none. `unit_groups` and
    `input_groups` name the permutation groups that act on these axes: more than one after a concatenation, none for
    inputs and outputs of the network. `order` counts the operations before it. A tensor that no operation reads has no
    operation.
    """

    name: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    role: Role
    slot: str | None = None
    operation: str | None = None
    kind: str | None = None
    depth: int = 0
    order: int = 0
    unit_axis: int | None = None
    input_axis: int | None = None
    unit_groups: tuple[str, ...] = ()
    input_groups: tuple[str, ...] = ()
