"""Which numbers of a codec's tokens are fixed when some tensors of a network are given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.interfaces import Codec
from weightsmith.layout import Layout
from weightsmith.settings.registry import nearest


@runtime_checkable
class Placed(Protocol):
    """A codec each number of whose tokens is one number of the network."""

    def positions(self) -> Int[Tensor, "token dim"]:
        """Where in the layout's vector each number of a token comes from; -1 for padding."""
        ...


def positions_of(codec: Codec) -> Int[Tensor, "token dim"]:
    """The codec's `positions`. Raises `BadInput` for one whose numbers are each of many tensors."""
    if not isinstance(codec, Placed):
        raise BadInput(
            f"numbers of a {type(codec).__name__} are each made of many tensors", "give tensors to codec flat or unit"
        )
    return codec.positions()


def known_numbers(codec: Codec, layout: Layout, names: Collection[str]) -> Bool[Tensor, "token dim"]:
    """True where a number of the codec's tokens is of a tensor in `names` (`conv1.weight`, or `conv1` for all of it).

    Raises `BadInput` for a name that the layout lacks, and for a codec that mixes tensors.
    """
    known = torch.zeros(layout.parameters, dtype=torch.bool)
    for name in names:
        spans = [span for key, span in layout.offsets.items() if key == name or key.startswith(f"{name}.")]
        if not spans:
            raise BadInput(f"no tensor or module {name!r}", f"nearest known: {nearest(name, layout.offsets)}")
        for start, end in spans:
            known[start:end] = True
    positions = positions_of(codec)
    return (positions >= 0) & known[positions.clamp(min=0)]
