"""Borrowing: a copy of a module to work on, on the CPU, and the values of tensors that are not generated."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.graph.borrowing import require_shapes

_RESETS = ("reset_parameters", "_reset_parameters")  # the second is how nn.MultiheadAttention and others call it


def require_module(module: Any) -> None:
    """Raise `BadInput` for what is no `torch.nn.Module` of plain, initialised tensors."""
    if not isinstance(module, nn.Module):
        of = module.__name__ if isinstance(module, type) else f"a {type(module).__name__}"
        called = isinstance(module, type) and issubclass(module, nn.Module)
        raise BadInput(f"{of} is not a torch.nn.Module", f"give an instance: {of}(...)" if called else "give a network")
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise BadInput(
                f"{name!r} in the state dict is a {type(value).__name__}, not a tensor", "remove extra state"
            )
    require_shapes(module)
    if next(module.parameters(), None) is None:
        raise BadInput(f"{type(module).__name__} has no parameters", "give a network with weights to be written")


def borrowed(module: nn.Module, seed: int) -> nn.Module:
    """A copy on the CPU in evaluation mode; `module` is left as it was.

    What lies on the meta device has no values: in the copy it has those that the module's own `reset_parameters` gives
    with `seed`, and NaN where there is none. Raises `BadInput` for a module that cannot be copied.
    """
    try:
        found = copy.deepcopy(module, _computed(module)).eval()
    except Exception as error:  # whatever a module's own attributes raise
        raise BadInput(
            f"{type(module).__name__} cannot be copied: {type(error).__name__}: {error}",
            "keep handles, hooks and generators out of its attributes",
        ) from error
    tensors = [*found.parameters(), *found.buffers()]
    if any(tensor.device.type != "cpu" for tensor in tensors):
        _bring(found)
    if any(tensor.is_meta for tensor in tensors):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for child in found.modules():
                reset(child)
    return found


def _computed(module: nn.Module) -> dict[int, Any]:
    """Copies of attributes that were computed from parameters, which `deepcopy` refuses to make."""
    attributes = [value for child in module.modules() for value in vars(child).values()]
    return {
        id(value): value.detach().clone() for value in attributes if isinstance(value, Tensor) and not value.is_leaf
    }


def _bring(module: nn.Module) -> None:
    """Move a module to the CPU in place, what is tied staying tied."""
    ties: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for register in _registers(module):
        for name, value in register.items():
            if value is not None:
                ties.setdefault(id(value), []).append((register, name))
    module._apply(lambda tensor: _blank(tensor) if tensor.is_meta else tensor.cpu())
    for (first, own), *others in ties.values():
        for register, name in others:
            register[name] = first[own]


def _registers(module: nn.Module) -> Iterator[dict[str, Any]]:
    for child in module.modules():
        yield child._parameters
        yield child._buffers


def _blank(tensor: Tensor) -> Tensor:
    """Of that shape and type, and of no value: NaN, the least integer, or false."""
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.full_like(tensor, float("nan"), device="cpu")
    if tensor.dtype == torch.bool:
        return torch.zeros_like(tensor, device="cpu")
    return torch.full_like(tensor, torch.iinfo(tensor.dtype).min, device="cpu")


def is_blank(tensor: Tensor) -> bool:
    """Whether a tensor that lay on the meta device still has no value; of booleans that is never known."""
    if tensor.dtype == torch.bool or not tensor.numel():
        return tensor.dtype == torch.bool
    return bool((tensor.isnan() if tensor.is_floating_point() else tensor == _blank(tensor)).all())


def reset(module: nn.Module) -> bool:
    """Have a module initialise itself, if it can."""
    for name in _RESETS:
        method = getattr(module, name, None)
        if callable(method):
            try:
                method()
            except Exception:  # it wants arguments, or is something else
                return False
            return True
    return False


def initialiser(form: nn.Module, name: str) -> str | None:
    """The path of the nearest module around a floating tensor that initialises it anew; `None` where none does.

    Found out by trying, which changes `form`.
    """
    parts = name.split(".")[:-1]
    around = (".".join(parts[:end]) for end in range(len(parts), -1, -1))
    return next((path for path in around if _initialises(form, path, name)), None)


def _initialises(form: nn.Module, path: str, name: str) -> bool:
    try:
        module, tensor = form.get_submodule(path), form.state_dict(keep_vars=True)[name]
    except AttributeError:  # the names of a state dict need not be paths
        return False
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        marked = tensor.fill_(_MARK).clone()
        return reset(module) and not torch.equal(tensor, marked)


_MARK = 0.7310585  # no initialiser gives this to every number of a tensor


def initialised(form: nn.Module, paths: Iterable[str], seed: int) -> Mapping[str, Tensor]:
    """The state of `form` after these modules of it have initialised themselves, from `seed`; changes `form`."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path in paths:
            reset(form.get_submodule(path))
    return form.state_dict()


def standard(form: nn.Module, seed: int) -> dict[str, Tensor]:
    """The floating parameters that modules of `form` initialise anew, from `seed`, parts before what they are part of.

    Changes `form`. What no `reset_parameters` sets is left out.
    """
    parameters = dict(form.named_parameters(remove_duplicate=False))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        marked = {name: value.fill_(_MARK).clone() for name, value in parameters.items() if value.is_floating_point()}
        for module in reversed(list(form.modules())):
            reset(module)
    return {name: parameters[name].detach() for name, mark in marked.items() if not torch.equal(parameters[name], mark)}
