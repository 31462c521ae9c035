"""A device that every machine has: computed on the CPU, but its tensors and the CPU's cannot meet, as on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")  # what tensors of this device say that they lie on, while `elsewhere()` lasts


class _There(torch.Tensor):
    """A tensor on that device; `inner` holds its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> _There:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class elsewhere(TorchDispatchMode):  # noqa: N801  it is used as a function
    """Inside, `tensor.to(ELSEWHERE)` puts a tensor there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    there = [value for value in tensors if isinstance(value, _There)]
    wanted = kwargs.get("device")
    if func is not torch.ops.aten._to_copy.default and func is not torch.ops.aten.copy_.default:
        here = [value for value in tensors if not isinstance(value, _There) and value.ndim]
        if there and here:
            raise RuntimeError(f"{func} of tensors on two devices: {[tuple(v.shape) for v in here]} lie on the CPU")
    answer_there = bool(there) if wanted is None else torch.device(wanted) == ELSEWHERE
    inside = {name: torch.device("cpu") if name == "device" and value else value for name, value in kwargs.items()}
    found = func(*tree_map(_inner, tuple(args)), **tree_map(_inner, inside))
    owners = {id(value.inner): value for value in there}  # of what is changed in place

    def outer(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not answer_there:
            return value
        return owners.get(id(value)) if id(value) in owners else _There(value)

    return tree_map(outer, found)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, _There) else value


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Its numbers."""
    return tensor.detach().inner if isinstance(tensor, _There) else tensor.detach()  # type: ignore[attr-defined]
