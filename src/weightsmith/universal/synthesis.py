"""Synthesis: the networks that were written for a module, and what there is to know of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightsmith.datasets import Split
from weightsmith.ensemble import Evaluation, evaluate
from weightsmith.errors import BadInput
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
    it was in training, or could not be done, a sentence each. `starts`: the weights that each network began at, on the
    CPU, where the synthesizer reads them. `training_accuracies`: the share of training images (the first 1,000)
    that each network gets right, where that was asked for and could be found out.
    """

    networks: tuple[State, ...]
    as_generated: tuple[State, ...]
    reading: Reading
    recalibrated: bool
    warnings: tuple[str, ...]
    starts: tuple[State, ...] = ()
    training_accuracies: tuple[float, ...] | None = None

    def evaluate(
        self, split: Split, states: Sequence[State] | None = None, device: torch.device | str = "cpu"
    ) -> list[Evaluation]:
        """What the networks (or these states of them) do on images, in float32: not every module takes another type.

        Raises `BadInput` where they cannot be run.
        """
        form, weights = widened(self.reading.form, self.networks if states is None else states, torch.float32)
        try:
            return evaluate(form, weights, split, device=device)
        except Exception as error:  # anything may come out of a user's module
            raise BadInput(
                f"{self.reading.name} cannot be evaluated: {type(error).__name__}: {error}",
                "build it on the CPU, in float32",
            ) from error

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
        told = {str(one) for one in reading.untouched}
        return found + [f"warning: {text}" for text in self.warnings if text not in told]


_BUFFER = "it is a buffer"


def widened(form: nn.Module, states: Sequence[State], dtype: torch.dtype) -> tuple[nn.Module, Weights]:
    """A copy of `form` and networks of it, on the CPU and of that floating type, whatever theirs are."""
    form = copy.deepcopy(form).to(dtype)
    layout = Layout.of(form)
    cast = [{spec.name: state[spec.name].cpu().to(spec.torch_dtype) for spec in layout.tensors} for state in states]
    return form, layout.flatten(cast)


def _listed(what: str, entries: Sequence[str]) -> list[str]:
    more = [f"{what}: {len(entries) - _NAMED} more"] if len(entries) > _NAMED else []
    return [f"{what}: {entry}" for entry in entries[:_NAMED]] + more


def _numel(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
