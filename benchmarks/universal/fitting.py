"""Weights of one network put into another form: the nearest one's tensors cut or tiled, and rescaled by fan-in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def option_distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two architectures of a family are: 1 for each choice that differs and each layer more or less.

    Sizes `a` and `b` differ by `|log2 (a + 1) / (b + 1)|`; layers, in size or choice, by the mean over what both have.
    """
    total = 0.0
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            layers = [_differ(p, q) for p, q in zip(a, b, strict=False)]
            total += abs(len(a) - len(b)) + (sum(layers) / len(layers) if layers else 0.0)
        else:
            total += _differ(a, b)
    return total


def cut_or_tile(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Every axis cut, or repeated from its beginning, to the wanted length: `y[i, j] = x[i mod n, j mod m]`."""
    for axis, size in enumerate(shape):
        if tensor.shape[axis] != size:
            index = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
    return tensor


def centred_taps(kernel: Tensor, taps: Sequence[int]) -> Tensor:
    """A kernel `[output, input, *taps]` cut about its centre, or with zeros around it."""
    pads: list[int] = []
    for have, want in zip(reversed(kernel.shape[2:]), reversed(taps), strict=True):
        before = (want - have) // 2
        pads += [before, want - have - before]
    return F.pad(kernel, pads)


def fitted(name: str, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor in the wanted shape; weights times inputs before over inputs after, so that sums stay as they were.

    A network of which every hidden layer is tiled a whole number of times computes what it did (Chen et al. 2016).
    """
    if tensor.ndim != len(shape):
        return cut_or_tile(tensor.flatten(), [math.prod(shape)]).reshape(tuple(shape))
    if name.endswith("qkv.weight") or name.endswith("qkv.bias"):  # queries, keys and values lie one after the other
        parts = [fitted("weight", part, (shape[0] // 3, *shape[1:])) for part in tensor.chunk(3)]
        return torch.cat(parts)
    found = centred_taps(tensor, shape[2:]) if tensor.ndim == 4 else tensor
    found = cut_or_tile(found, shape)
    if tensor.ndim in (2, 4) and name.endswith("weight"):
        found = found * (tensor.shape[1] / shape[1])
    return found


def transplanted(module: nn.Module, donor: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The donor's tensors in the module's shapes, each from the layer of the same kind at the same relative depth.

    Layers are of a kind when class and name agree, up to the first number in it. What has no counterpart is left out.
    """
    own, theirs = _packed(module.state_dict()), _packed(state)
    wanted, given = _by_kind(module, own), _by_kind(donor, theirs)
    found: dict[str, Tensor] = {}
    for kind, names in wanted.items():
        sources = given.get(kind, [])
        for i, name in enumerate(names if sources else ()):
            source = sources[counterpart(i, len(names), len(sources))]
            found[name] = fitted(name, theirs[source], own[name].shape)
    return _spelled(found, module.state_dict())


def counterpart(i: int, count: int, sources: int) -> int:
    """Which of so many sources stands at the relative depth of the `i`-th of `count`; the last for an only one."""
    return round(i * (sources - 1) / (count - 1)) if count > 1 else sources - 1


def _packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values that are three layers, as the one that holds them one after the other."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".query." in name:
            found[_qkv(name)] = torch.cat([state[one] for one in _three(name)])
        elif ".key." not in name and ".value." not in name:
            found[name] = value
    return found


def _spelled(found: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Undo `_packed` where the names that are wanted are those of three layers."""
    result = dict(found)
    for name in wanted:
        if ".query." in name and (whole := result.pop(_qkv(name), None)) is not None:
            result |= dict(zip(_three(name), whole.chunk(3), strict=True))
    return result


def _three(query: str) -> list[str]:
    return [query.replace(".query.", f".{one}.") for one in ("query", "key", "value")]


def _qkv(query: str) -> str:
    return query.replace(".query.", ".qkv.")


def _by_kind(module: nn.Module, packed: Mapping[str, Tensor]) -> dict[tuple[str, str], list[str]]:
    classes = {name: type(child).__name__ for name, child in module.named_modules()}
    found: dict[tuple[str, str], list[str]] = {}
    for name, value in packed.items():
        if value.is_floating_point():
            # One that holds three layers may be none of the module's, and is linear.
            kind = classes.get(name.rpartition(".")[0], nn.Linear.__name__), re.sub(r"\d+", "#", name, count=1)
            found.setdefault(kind, []).append(name)
    return found


def _differ(a: Any, b: Any) -> float:
    if _is_size(a) and _is_size(b):
        return abs(math.log2((a + 1) / (b + 1)))
    return float(a != b)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
