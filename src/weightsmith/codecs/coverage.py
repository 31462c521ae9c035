"""What a codec covers: one layout, the one it was fitted on, with stored tensors of its shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout, Weights
from weightsmith.tokens import Tokens

_NUMERALS = {1: "one", 2: "two"}


def require_fitted(fitted: Layout | None, codec: str) -> Layout:
    """The layout that the codec was fitted on. Raises `BadInput` when there is none yet."""
    if fitted is None:
        raise BadInput(f"the {codec} codec has not been fitted", "call fit with training networks first")
    return fitted


def require_networks(weights: Weights, codec: str, least: int = 1) -> None:
    """Raise `BadInput` unless there are `least` networks to fit a codec on, of floating-point values, all finite."""
    if len(weights) < least:
        found = {0: "no network", 1: "1 network"}.get(len(weights), f"{len(weights)} networks")
        raise BadInput(
            f"{found} to fit the {codec} codec on", f"give at least {_NUMERALS.get(least, least)} checkpoints"
        )
    if not weights.layout.parameters:
        raise BadInput(
            f"the networks to fit the {codec} codec on have 0 floating-point values", "give networks with parameters"
        )
    _require_finite(weights, f"networks to fit the {codec} codec on")


def require_covered(fitted: Layout | None, layout: Layout, codec: str, what: str) -> None:
    """Raise `BadInput` when the codec was not fitted, `LayoutMismatch` when it was fitted on another layout."""
    require_fitted(fitted, codec).require_same(layout, what)


def require_encodable(fitted: Layout | None, weights: Weights, codec: str) -> None:
    """Raise `BadInput` unless the weights are finite and of the layout that the codec was fitted on."""
    require_covered(fitted, weights.layout, codec, "networks to encode")
    _require_finite(weights, f"networks to encode with the {codec} codec")


def require_tokens(tokens: Tokens, token: int, dim: int) -> None:
    """Raise `BadInput` unless there are so many tokens of so many numbers a network, as in the codec's space."""
    if tuple(tokens.values.shape[1:]) != (token, dim):
        raise BadInput(
            f"tokens to decode are {list(tokens.values.shape[1:])} a network, not {[token, dim]}",
            "give tokens of this codec's space",
        )


def require_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `ArtifactError` unless a codec's stored tensors are these, of these shapes."""
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != dict(shapes):
        raise ArtifactError(f"the codec's tensors are {found}, not {dict(shapes)}", "restore the file or make it again")


def _require_finite(weights: Weights, what: str) -> None:
    finite = torch.isfinite(weights.vectors)
    if bool(finite.all()):
        return
    network, position = (int(i) for i in (~finite).nonzero()[0])
    name = next(name for name, (start, end) in weights.layout.offsets.items() if start <= position < end)
    value = float(weights.vectors[network, position])
    raise BadInput(f"{what}: network {network} holds {value} in tensor {name!r}", "leave that network out")
