"""What a codec covers: one layout, the one it was fitted on, with stored tensors of its shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout


def require_fitted(fitted: Layout | None, codec: str) -> Layout:
    """The layout that the codec was fitted on. Raises `BadInput` when there is none yet."""
    if fitted is None:
        raise BadInput(f"the {codec} codec has not been fitted", "call fit with training networks first")
    return fitted


def require_covered(fitted: Layout | None, layout: Layout, codec: str, what: str) -> None:
    """Raise `BadInput` when the codec was not fitted, `LayoutMismatch` when it was fitted on another layout."""
    require_fitted(fitted, codec).require_same(layout, what)


def require_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `ArtifactError` unless a codec's stored tensors are these, of these shapes."""
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != dict(shapes):
        raise ArtifactError(f"the codec's tensors are {found}, not {dict(shapes)}", "restore the file or make it again")
