"""Synthesis: the networks that were written for a module, and what there is to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from weightsmith.layout import Layout, Weights
from weightsmith.reporter import counted
from weightsmith.universal.reading import Reading

State = dict[str, Tensor]
_NAMED = 6


@dataclass(frozen=True, eq=False)
class Synthesis:
    """`networks`: complete state dicts, of the module's names and types, on its device.

    `as_generated`: the same before statistics were recalibrated, where they were. `reading`: what was read of the
    module. `recalibrated`: whether its running statistics were measured on training images. `warnings`: what is not as
    it was in training, or could not be done, a sentence each.
    """

    networks: tuple[State, ...]
    as_generated: tuple[State, ...]
    reading: Reading
    recalibrated: bool
    warnings: tuple[str, ...]

    def weights(self, states: Sequence[State] | None = None) -> Weights:
        """The networks (or these states) as `Weights` on the CPU, of the layout of `reading.form`."""
        chosen = self.networks if states is None else states
        layout = Layout.of(self.reading.form)
        return layout.flatten([{name: value.cpu() for name, value in state.items()} for state in chosen])

    @property
    def lines(self) -> list[str]:
        """What was understood, what was not, and what was done about it, for people."""
        reading, graph = self.reading, self.reading.graph
        learned = [node for node in graph.tensors.values() if node.role != "buffer" and node.names[0] == node.name]
        written = set(reading.generated)
        numbers = [_numel(node.shape) for node in learned]
        done = [_numel(node.shape) for node in learned if node.name in written]
        found = [
            f"{reading.name}: {counted(len(graph.operations), 'operation')}, {sum(numbers):,} parameters in "
            f"{counted(len(learned), 'tensor')}, {counted(reading.blueprint.units, 'hidden unit')}",
            f"generated: {sum(done):,} parameters in {counted(len(done), 'tensor')}",
        ]
        found += _listed("not generated", [str(one) for one in reading.untouched if one.reason != _BUFFER])
        if any(one.reason == _BUFFER for one in reading.untouched):
            how = "recalibrated on training images" if self.recalibrated else "as in the module"
            found.append(f"buffers: {how}")
        return found + [f"warning: {text}" for text in self.warnings]


_BUFFER = "it is a buffer"


def _listed(what: str, entries: Sequence[str]) -> list[str]:
    more = [f"{what}: {len(entries) - _NAMED} more"] if len(entries) > _NAMED else []
    return [f"{what}: {entry}" for entry in entries[:_NAMED]] + more


def _numel(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
