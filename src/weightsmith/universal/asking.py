"""Asking for networks: `ws.synthesize` and `ws.initialize`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.pretrained import UNIVERSAL
from weightsmith.universal.borrowing import require_module
from weightsmith.universal.reading import require_name
from weightsmith.universal.starting import Start, count_of
from weightsmith.universal.synthesis import State, Synthesis
from weightsmith.universal.synthesizer import UniversalSynthesizer
from weightsmith.universal.writing import is_finite

Given = UniversalSynthesizer | str | Path | None
_DATASET = "mnist"


class SynthesisWarning(UserWarning):
    """Something of a module is beyond what its synthesizer was trained on, or could not be done."""


def synthesize(
    module: nn.Module,
    dataset: str | None = None,
    n: int | None = None,
    seed: int = 0,
    synthesizer: Given = None,
    strict: bool = False,
    recalibrate: bool = True,
    check: bool = True,
    input_shape: Sequence[int] | None = None,
    start: Start | None = None,
) -> list[State]:
    """`n` different networks (8, or one a start), as complete state dicts: `module.load_state_dict(weights[0])`.

    The module is left as it was; network i follows from `seed` and i alone. `dataset`: what the networks are for, by
    name; without it, what the synthesizer was trained for (mnist for the one that comes along). `synthesizer`: one, its
    folder, or a name. `strict`: refuse what is not understood or beyond the trained range, instead of warning of it.
    `recalibrate`: measure running statistics of normalisation layers on training images. `check`: run what was
    written on 1,000 training images, where they are at hand, and warn of networks that do badly. `input_shape`: of one
    image, where the module reads it in another shape than the data set has, as `(784,)`. `start`: for a synthesizer
    that begins at given weights, a state dict or a list of them, one a network; without it, standard initialisations.

    Raises `BadInput`; `UniversalSynthesizer.synthesize` gives a record of all that is known instead.
    """
    count_of(n, start, 1)
    require_module(module)
    chosen = synthesizer_for(dataset, synthesizer)
    how = _How(dataset, seed, strict, recalibrate, check, input_shape)
    return list(_found(chosen, module, n, how, start).networks)


def initialize(
    module: nn.Module,
    dataset: str | None = None,
    seed: int = 0,
    synthesizer: Given = None,
    strict: bool = False,
    recalibrate: bool = True,
    check: bool = True,
    input_shape: Sequence[int] | None = None,
) -> Synthesis:
    """Write one network into a module, in place, as the start of its training; what was done comes back.

    A synthesizer that begins at given weights begins at those that the module has. The arguments are those of
    `synthesize`. Raises `BadInput`, the module unchanged.
    """
    require_module(module)
    meta = next((name for name, value in module.state_dict().items() if value.is_meta), None)
    if meta is not None:
        raise BadInput(
            f"tensor {meta!r} lies on the meta device, where nothing can be written",
            "move the module with to_empty first, or give its networks to load_state_dict(..., assign=True)",
        )
    chosen = synthesizer_for(dataset, synthesizer)
    how = _How(dataset, seed, strict, recalibrate, check, input_shape)
    found = _found(chosen, module, 1, how, module.state_dict() if chosen.begins_at_weights else None)
    if not is_finite(found.networks[0]):
        raise BadInput(
            f"the weights written for {type(module).__name__} hold values that are not finite",
            "take another seed, or a network within what the synthesizer was trained on: strict names what is not",
        )
    with torch.no_grad():
        module.load_state_dict(found.networks[0])
    return found


def synthesizer_for(dataset: str | None, synthesizer: Given) -> UniversalSynthesizer:
    """The synthesizer that is asked for; without one, that for the data set which comes along."""
    if isinstance(synthesizer, UniversalSynthesizer):
        return synthesizer
    if synthesizer is not None:
        return UniversalSynthesizer.load(synthesizer)
    require_name(dataset)
    wanted = dataset or _DATASET
    if wanted not in UNIVERSAL:
        raise BadInput(
            f"no synthesizer that comes along was trained for data set {wanted!r}",
            f"there is one for {', '.join(UNIVERSAL)}; train your own, and give its folder as synthesizer",
        )
    return UniversalSynthesizer.load(UNIVERSAL[wanted])


class _How(NamedTuple):
    dataset: str | None
    seed: int
    strict: bool
    recalibrate: bool
    check: bool
    input_shape: Sequence[int] | None


def _found(chosen: UniversalSynthesizer, module: nn.Module, n: int | None, how: _How, start: Start | None) -> Synthesis:
    found = chosen.synthesize(module, n, start=start, **how._asdict())
    for text in found.warnings:
        warnings.warn(text, SynthesisWarning, stacklevel=3)
    return found
