"""Borrowing a module: whatever is done with it inside, it comes out as it went in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from weightsmith.errors import BadInput

SEED = 0


def require_shapes(module: nn.Module) -> None:
    """Raise `BadInput` for a tensor that has no shape before the module was run."""
    for name, value in module.state_dict(keep_vars=True).items():
        if is_lazy(value):
            raise BadInput(f"tensor {name!r} has no shape yet", "run the module once on an example, then give it")


@contextlib.contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; training flags, attributes and random state as before afterwards."""
    before = [(child, dict(vars(child)), _contents(child)) for child in module.modules()]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        try:
            module.eval()
            yield
        finally:
            for child, attributes, contents in before:
                _restore(vars(child), attributes)
                for name, content in contents.items():
                    _restore(attributes[name], content)


def seed() -> None:
    """The same random state at every run; devices that are not in use yet are not touched."""
    torch.default_generator.manual_seed(SEED)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(SEED)


def _contents(child: nn.Module) -> dict[str, dict[str, Any]]:
    """What lies in its registers of parameters and buffers, which a forward may put others into."""
    return {name: dict(vars(child)[name]) for name in ("_parameters", "_buffers") if name in vars(child)}


def _restore(current: dict[str, Any], before: Mapping[str, Any]) -> None:
    for name in current.keys() - before.keys():
        del current[name]
    for name, value in before.items():
        if name not in current or current[name] is not value:
            current[name] = value


@contextlib.contextmanager
def on_copies(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Its tensors by name (one name each), with copies of their values inside, so that a run may change them."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors |= dict(module.named_buffers())
    before = {name: (tensor, tensor.data, tensor.requires_grad) for name, tensor in tensors.items()}
    try:
        for tensor in tensors.values():
            tensor.data = tensor.data.clone()
        yield tensors
    finally:
        for tensor, data, wants_gradient in before.values():
            tensor.data = data
            if tensor.is_leaf:
                tensor.requires_grad_(wants_gradient)
