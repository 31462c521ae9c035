"""Walking: the operations behind a module's outputs, read off the autograd graph of one run on an example.

It sees the path that this example takes, and of it what gradients flow through. A tensor of the module that changes the
outputs and is not seen is given to an operation `not_seen`, about which nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from weightsmith.graph import autograd_node as reading
from weightsmith.graph.autograd_order import begins, in_order, outputs_in_use
from weightsmith.graph.borrowing import left_as_it_was, on_copies
from weightsmith.graph.nodes import Operation, Value
from weightsmith.graph.running import Run, run
from weightsmith.graph.trace import Trace, tied_names
from weightsmith.graph.vocabulary import UNKNOWN, kind_of

_SEVERAL = frozenset({"split", "unbind"})  # kinds whose outputs are always told apart


def walk(module: nn.Module, inputs: tuple[Tensor, ...]) -> Trace:
    """Run `module` on an example, with gradients, and walk back from its outputs.

    Raises what the module raises, and `ValueError` when no output depends on anything through gradients.
    """
    try:
        return _walk(module, inputs, with_buffers=True)
    except Exception:  # some operations have no derivative by a buffer
        return _walk(module, inputs, with_buffers=False)


def _walk(module: nn.Module, inputs: tuple[Tensor, ...], with_buffers: bool) -> Trace:
    names = tied_names(module)
    with left_as_it_was(module), on_copies(module) as tensors:
        learned = {id(parameter) for parameter in module.parameters()}
        wanted = {n: t for n, t in tensors.items() if id(t) in learned or (with_buffers and "running_" not in n)}
        found = run(module, inputs, wanted)
        if not any(output.grad_fn is not None for output in found.outputs):
            raise ValueError("no output depends on its inputs or tensors through operations with gradients")
        state = module.state_dict(keep_vars=True)
        trace = _Walker(found, {name: state[name] for name in names}, names).trace()
        return _with_what_was_not_seen(trace, module, inputs, {name: state[name] for name in names})


def _with_what_was_not_seen(
    trace: Trace, module: nn.Module, inputs: tuple[Tensor, ...], state: Mapping[str, Tensor]
) -> Trace:
    """Change every tensor that no operation reads, and see whether the outputs change."""
    read = {name for operation in trace.operations for name in operation.parameters.values()}
    expected = run(module, inputs, {}).outputs
    found = []
    for name, tensor in state.items():
        if name not in read and tensor.is_floating_point() and _changes(module, inputs, tensor, expected):
            found.append(Value(name, "tensor", tuple(tensor.shape)))
    if not found:
        return trace
    unseen = Operation("not_seen", UNKNOWN, "not_seen", {"tensors": tuple(found)}, (), 0)
    return replace(trace, operations=(*trace.operations, unseen))


def _changes(module: nn.Module, inputs: tuple[Tensor, ...], tensor: Tensor, expected: tuple[Tensor, ...]) -> bool:
    before = tensor.data
    try:
        tensor.data = before * 1.5 + 0.1 * torch.rand_like(before)
        found = run(module, inputs, {}).outputs
    except Exception:  # its value decided what was computed
        return True
    finally:
        tensor.data = before
    return len(found) != len(expected) or any(not torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class _Walker:
    """Turns the autograd graph of one run into a `Trace`."""

    def __init__(self, found: Run, state: Mapping[str, Tensor], names: Mapping[str, tuple[str, ...]]) -> None:
        self._run, self._names = found, names
        known = [(Value(name, "tensor", tuple(tensor.shape)), tensor) for name, tensor in state.items()]
        known += found.inputs
        self._by_id = {id(tensor): value for value, tensor in known}
        self._by_place = {_place(tensor): value for value, tensor in known if tensor.numel()}
        self._made: dict[tuple[Any, int], Value] = {}
        self._operations: list[Operation] = []
        self._counts: dict[str, int] = {}

    def trace(self) -> Trace:
        nodes = in_order(self._run.outputs, self._run.entries)
        used = outputs_in_use(nodes, self._run.outputs)
        for node in nodes:
            self._add(node, used[node])
        outputs = tuple(self._output(output) for output in self._run.outputs)
        inputs = tuple(value for value, _ in self._run.inputs)
        return Trace(inputs, tuple(self._operations), outputs, self._names, "autograd")

    def _output(self, output: Tensor) -> Value:
        return self._tensor(output) if output.grad_fn is None else self._value(output.grad_fn, output.output_nr)

    def _value(self, node: Any, number: int) -> Value:
        if (node, number) not in self._made and begins(node, self._run.entries):
            self._made[node, number] = self._run.entries.get(node) or self._tensor(node.variable)
        return self._made[node, number]

    def _tensor(self, tensor: Tensor) -> Value:
        """One that is known, or a constant; where that is zero everywhere, an operation which makes zeros."""
        found = self._by_id.get(id(tensor)) or self._by_place.get(_place(tensor))
        if found is not None:
            return found
        shape = tuple(tensor.shape)
        if not tensor.numel() or bool(tensor.any()):
            return Value(self._name("constant"), "constant", shape)
        return self._operation(Operation(self._name("zeros"), kind_of("zeros"), "zeros", {}, (shape,), 0))

    def _operation(self, operation: Operation) -> Value:
        self._operations.append(operation)
        return Value(operation.name, "operation", operation.shapes[0] if len(operation.shapes) == 1 else ())

    def _add(self, node: Any, used: Iterable[int]) -> None:
        target, shapes = reading.target_of(node), reading.shapes_of(node)
        kind = kind_of(target)
        several = len(shapes) > 1 and (kind in _SEVERAL or set(used) != {0})
        arguments = self._arguments(node, target)
        whole = self._operation(
            Operation(self._name(target), kind, target, arguments, shapes if several else shapes[:1], 0)
        )
        if not several:
            self._made[node, 0] = whole
            return
        for number in sorted(used):
            item = {"argument0": whole, "argument1": number}
            found = Operation(self._name("getitem"), "item", "getitem", item, (shapes[number],), 0)
            self._made[node, number] = self._operation(found)

    def _arguments(self, node: Any, target: str) -> dict[str, Any]:
        """Edges by the names of the arguments, then tensors without derivatives, then options."""
        found: dict[str, Any] = {}
        edges = node.next_functions
        for slot, (maker, number) in zip(reading.slots_of(target, len(edges)), edges, strict=True):
            value = self._value(maker, number) if maker is not None else self._kept(reading.saved(node, slot))
            if slot.endswith("*"):
                parts = found.get(slot[:-1], ())
                found[slot[:-1]] = (*parts, value) if value is not None else parts
            else:
                found[slot] = value
        found |= {slot: self._kept(value) for slot, value in reading.saved_arguments(node, target).items()}
        if kind_of(target) == UNKNOWN:
            found |= self._of_state(node, found)
        return found | {slot: v for slot, v in reading.options_of(node).items() if found.get(slot) is None}

    def _kept(self, kept: Any) -> Any:
        """A saved argument: a number, a tensor that is known, or a constant."""
        if isinstance(kept, tuple):
            return tuple(self._kept(part) for part in kept)
        if not isinstance(kept, Tensor):
            return kept
        known = self._by_id.get(id(kept)) or self._by_place.get(_place(kept))
        return kept.item() if known is None and kept.ndim == 0 else known or self._tensor(kept)

    def _of_state(self, node: Any, found: Mapping[str, Any]) -> dict[str, Value]:
        """Tensors of the state that an operation of no known arguments kept."""
        kept = {slot: self._by_id.get(id(tensor)) for slot, tensor in reading.saved_tensors(node).items()}
        read = [value for value in found.values() if isinstance(value, Value)]
        return {slot: value for slot, value in kept.items() if value is not None and value not in read}

    def _name(self, target: str) -> str:
        self._counts[target] = count = self._counts.get(target, -1) + 1
        return f"{target}_{count}" if count else target


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
