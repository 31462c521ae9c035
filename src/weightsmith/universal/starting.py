"""Starts: the weights that networks begin at, as they were given, or a standard initialisation of the module."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.universal.borrowing import standard
from weightsmith.universal.reading import Reading

State = dict[str, Tensor]
Start = Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]


def listed(start: Start) -> list[Mapping[str, Tensor]]:
    """One or several given states as a list. Raises `BadInput` for what is neither."""
    found = [start] if isinstance(start, Mapping) else list(start) if isinstance(start, Sequence) else None
    if not found or not all(isinstance(one, Mapping) for one in found):
        what = "an empty list" if found == [] else f"a {type(start).__name__}"
        raise BadInput(f"the start is {what}, not a state dict", "give module.state_dict(), or a list of them")
    return found


def count_of(n: int | None, start: Start | None, otherwise: int) -> int:
    """How many networks there will be: one for each start that is given, `n` where none is, else `otherwise`.

    Raises `BadInput` for fewer than one, and for another number than there are starts.
    """
    starts = None if start is None else len(listed(start))
    if n is not None and (not isinstance(n, Integral) or n < 1):
        raise BadInput(f"n={n!r}: so many networks cannot be written", "ask for a whole number, one or more")
    if starts is not None and n not in (None, starts):
        raise BadInput(
            f"{n} networks are asked for from {starts} start{'s' if starts > 1 else ''}: each start gives one network",
            "give as many starts, or leave the number out",
        )
    return int(starts or n or otherwise)


def checked_seed(seed: object) -> int:
    """A seed as it was given. Raises `BadInput` for what is no whole number from 0 on."""
    if not isinstance(seed, Integral) or seed < 0:
        raise BadInput(f"seed={seed!r} is no seed", "give a whole number from 0 on")
    return int(seed)


def given_starts(reading: Reading, start: Start) -> list[State]:
    """What was given, on the CPU, of the tensors that the module has.

    Raises `BadInput` for a tensor to be generated that is missing, and for one that is of another shape, without
    values, or not finite; a tied tensor may stand under any of its names.
    """
    states = listed(start)
    where = ["start"] if len(states) == 1 else [f"start {i}" for i in range(len(states))]
    return [_checked(reading, state, name) for state, name in zip(states, where, strict=True)]


def standard_start(reading: Reading, seed: int) -> State:
    """A standard initialisation of what is generated: by the `reset_parameters` of the modules around it.

    A tensor that none of them initialises is drawn from a normal distribution, about the usual mean and of the usual
    scale: `1 / sqrt(fan_in)` for what multiplies.
    """
    rng = torch.Generator().manual_seed(seed)
    found: State = {}
    made = standard(copy.deepcopy(reading.form), seed)
    for plan in reading.blueprint.tensors:
        drawn = plan.base + plan.scale * torch.randn(plan.shape, generator=rng)
        value = next((made[name] for name in plan.names if name in made), drawn)
        found |= dict.fromkeys(plan.names, value)
    return found


def constant_tensors(reading: Reading, start: Mapping[str, Tensor]) -> list[str]:
    """The matrices and kernels of a start whose numbers are all the same, so that they say nothing."""
    names = [plan.names[0] for plan in reading.blueprint.tensors if len(plan.shape) > 1 and not plan.base]
    return [name for name in names if start[name].numel() > 1 and bool((start[name] == start[name].flatten()[0]).all())]


def _checked(reading: Reading, state: Mapping[str, Tensor], where: str) -> State:
    found: State = {}
    for plan in reading.blueprint.tensors:
        there = [name for name in plan.names if name in state]
        if not there:
            raise BadInput(f"tensor {plan.names[0]!r} is missing in the {where}", _remedy(reading))
        found |= dict.fromkeys(plan.names, state[there[0]])
    found |= {name: state[name] for name in reading.stands if name in state and name not in found}
    return {
        name: _sound(value, reading.stands[name], f"tensor {name!r} of the {where}") for name, value in found.items()
    }


def _sound(value: Any, like: Tensor, what: str) -> Tensor:
    if not isinstance(value, Tensor) or value.is_meta:
        problem = (
            "lies on the meta device, without values" if isinstance(value, Tensor) else f"is a {type(value).__name__}"
        )
        raise BadInput(f"{what} {problem}", "give tensors with values")
    if value.shape != like.shape:
        raise BadInput(
            f"{what} is {list(value.shape)}, not {list(like.shape)}", "give a start of this very architecture"
        )
    if value.is_floating_point() != like.is_floating_point():
        raise BadInput(f"{what} is {value.dtype}, not {like.dtype}", "convert it yourself if that is what was meant")
    if value.is_floating_point() and not bool(value.float().isfinite().all()):
        raise BadInput(f"{what} holds values that are not finite in float32", "give weights that are finite")
    return value.detach().cpu()


def _remedy(reading: Reading) -> str:
    return f"give a state dict of {reading.name}, with all that is generated: {', '.join(reading.generated[:4])}, ..."
