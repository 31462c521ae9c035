"""What options of several architectures have in common: types of fields, and checks of what goes together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from weightsmith.settings.scalars import Integer, read_text, refuse

NORM_GROUPS = 4  # of a group norm

Activation = Annotated[Literal["relu", "gelu", "tanh", "silu"], BeforeValidator(read_text)]
Norm = Annotated[Literal["none", "batch", "group", "layer"], BeforeValidator(read_text)]
DenseNorm = Annotated[Literal["none", "layer", "batch"], BeforeValidator(read_text)]
HeadKind = Annotated[Literal["flatten", "quarters", "average"], BeforeValidator(read_text)]
Few = Annotated[Integer, Field(ge=1, le=1024)]
Kernel = Annotated[Integer, Field(ge=1, le=255)]
NORM = "The norm after each convolution: none, batch, group (four groups) or layer (channels and positions together)."
HEAD = "What the linear head reads: the flattened grid, the average of each quarter of it, or of all of it."


def require_alike(count: int, **lists: Sequence[object]) -> None:
    for name, entries in lists.items():
        if len(entries) != count:
            refuse(f"{count} entries in {name}, one a layer", f"there are {len(entries)}")


def require_divisor(name: str, count: int, widths: Iterable[int]) -> None:
    wrong = next((width for width in widths if width % count), None)
    if wrong is not None:
        refuse(f"{name} that is a divisor of the widths it acts on", f"{count} does not divide {wrong}")


def require_norm(norm: str, channels: Iterable[int]) -> None:
    if norm == "group":
        require_divisor(f"a group norm, whose {NORM_GROUPS} groups are a number", NORM_GROUPS, channels)
