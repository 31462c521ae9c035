"""Running: one evaluation of a module on an example, with gradients, so that its autograd graph can be walked."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightsmith.graph.autograd_order import in_order
from weightsmith.graph.borrowing import seed
from weightsmith.graph.nodes import Value


@dataclass(frozen=True)
class Run:
    """The tensors that came out; the inputs, and the autograd nodes at which they enter."""

    outputs: tuple[Tensor, ...]
    inputs: tuple[tuple[Value, Tensor], ...]
    entries: Mapping[Any, Value]

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the operations that were run, in order."""
        return tuple(node.name() for node in in_order(self.outputs, self.entries))


def run(module: nn.Module, inputs: tuple[Tensor, ...], want_gradients: Mapping[str, Tensor]) -> Run:
    """Run a borrowed module on copies of the inputs, the random state the same every time."""
    for tensor in want_gradients.values():
        if tensor.is_leaf and _is_differentiable(tensor):
            tensor.requires_grad_(True)
    seed()
    values = [Value(n, "input", tuple(x.shape)) for n, x in zip(_names(module, inputs), inputs, strict=True)]
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # copies of leaves, so that the module may overwrite its inputs
        given = [x.detach().clone().requires_grad_(_is_differentiable(x)).clone() for x in inputs]
        entries = {x.grad_fn: value for x, value in zip(given, values, strict=True) if x.grad_fn is not None}
        found = [leaf for leaf in pytree.tree_leaves(module(*given)) if isinstance(leaf, Tensor)]
    return Run(tuple(found), tuple(zip(values, given, strict=True)), entries)


def _names(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[str]:
    """The names of the arguments of its forward, where it has as many."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, one in inspect.signature(module.forward).parameters.items() if one.kind in kinds]
    return [*names, *(f"input_{i}" for i in range(len(names), len(inputs)))][: len(inputs)]


def _is_differentiable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
