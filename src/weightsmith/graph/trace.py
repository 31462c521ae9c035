"""Trace: the operations of a module in order, however they were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from weightsmith.errors import BadInput
from weightsmith.graph.nodes import Operation, Value

TracedBy = Literal["export", "autograd"]


class NotExportable(BadInput):
    """A module's operations can neither be written down ahead of running it nor be read off a run."""


@dataclass(frozen=True)
class Trace:
    """The operations in order, the inputs and outputs, and every state-dict name of each tensor (more when tied)."""

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    names: Mapping[str, tuple[str, ...]]
    by: TracedBy = "export"


def tied_names(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """First name of each tensor to all its names: tensors are the same when they are one object."""
    groups: dict[int, list[str]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        groups.setdefault(id(value), []).append(name)
    return {names[0]: tuple(names) for names in groups.values()}


def depth_of(operation: Operation, depths: Mapping[str, int]) -> int:
    """How many operations with learned weights lie on the longest path to it, itself included, from those before."""
    return max((depths.get(value.name, 0) for value in operation.inputs), default=0) + bool(operation.parameters)


def depending_on_input(operations: Iterable[Operation]) -> frozenset[str]:
    """The names of those of a trace's operations that the network's input has a part in."""
    found: set[str] = set()
    for operation in operations:
        if any(value.source == "input" or value.name in found for value in operation.inputs):
            found.add(operation.name)
    return frozenset(found)
