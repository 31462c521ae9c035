"""Intake: which layout a network is stored in, that of an architecture or the one its own tensors show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from weightsmith.checkpoint import conform
from weightsmith.errors import LayoutMismatch
from weightsmith.layout import Layout, Role, TensorSpec
from weightsmith.tensorfile import can_hold

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Fitted:
    """A network as it will be stored: its layout, its tensors, and the casts that were made, each by name."""

    layout: Layout
    state: Mapping[str, Tensor]
    casts: list[str]


class Intake:
    """Fits networks to one layout, or gives each the layout that it shows; the order of names is that first seen."""

    def __init__(self, layout: Layout | None, known: Iterable[Layout] = ()) -> None:
        self._layout = layout
        self._known = {_shown(item): item for item in known}

    def fit(self, state: Mapping[str, Tensor], stated: Layout | None = None) -> Fitted:
        """`stated` is what the source says of the layout. Raises `LayoutMismatch` naming the tensor that is not so."""
        if self._layout is not None:
            return _conformed(state, self._layout)
        if stated is not None:
            stated.check(state)
            return Fitted(stated, state, [])
        layout = read_layout(state)
        known = self._known.setdefault(_shown(layout), layout)
        return Fitted(known, state, [])


def _conformed(state: Mapping[str, Tensor], layout: Layout) -> Fitted:
    try:
        cast, casts = conform(state, layout)
    except LayoutMismatch as error:
        prefix = _prefix(state, layout)
        if prefix is None:
            raise
        raise LayoutMismatch(error.message, f"its names begin with {prefix!r}: give --strip {prefix}") from None
    return Fitted(layout, cast, casts)


def _prefix(state: Mapping[str, Tensor], layout: Layout) -> str | None:
    """What all names begin with before those of the layout."""
    wanted = {spec.name for spec in layout.tensors}
    first = next(iter(wanted), "")
    starts = {name.removesuffix(first) for name in state if first and name.endswith(f".{first}")}
    return next((start for start in starts if {f"{start}{name}" for name in wanted} == set(state)), None)


def read_layout(state: Mapping[str, Tensor]) -> Layout:
    """The layout that a state dict shows by itself: names, shapes, dtypes, and roles by `role_of`.

    Raises `LayoutMismatch` for what is no network: nothing in it, no floating-point tensor, a dtype that no zoo holds.
    """
    if not any(value.is_floating_point() for value in state.values()):
        raise LayoutMismatch("it holds no floating-point tensor", "give the state dict of a network")
    for name, value in state.items():
        if not value.is_floating_point() and not can_hold(value.dtype):
            raise LayoutMismatch(f"tensor {name!r} is {_dtype(value)}, which a zoo cannot hold", "convert it yourself")
    return Layout(
        tuple(
            TensorSpec(name, tuple(value.shape), _dtype(value), role_of(name, state)) for name, value in state.items()
        )
    )


def role_of(name: str, state: Mapping[str, Tensor]) -> Role:
    """What a tensor is, by its name, shape and neighbours.

    What is not floating-point, or a running statistic, is a `buffer`. The `weight` and `bias` of a layer with running
    statistics, or whose `weight` has one dimension, are its `norm`. Of the rest, what ends in `bias` is a `bias`.
    """
    layer, dot, last = name.rpartition(".")
    if last in _BUFFERS or not state[name].is_floating_point():
        return "buffer"
    weight = state.get(f"{layer}{dot}weight")
    normalises = f"{layer}{dot}running_mean" in state or (weight is not None and weight.ndim == 1)
    if normalises and last in ("weight", "bias"):
        return "norm"
    return "bias" if name.endswith("bias") else "weight"


def _shown(layout: Layout) -> frozenset[tuple[str, tuple[int, ...], str]]:
    return frozenset((spec.name, spec.shape, spec.dtype) for spec in layout.tensors)


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
