"""What a codec covers: one layout, the one it was fitted on."""

from __future__ import annotations

from weightsmith.errors import BadInput
from weightsmith.layout import Layout


def require_covered(fitted: Layout | None, layout: Layout, codec: str, what: str) -> None:
    """Raise `BadInput` when the codec was not fitted, `LayoutMismatch` when it was fitted on another layout."""
    if fitted is None:
        raise BadInput(f"the {codec} codec has not been fitted", "call fit with training networks first")
    fitted.require_same(layout, what)
