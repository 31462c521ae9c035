"""Reconstruction: what a network loses on its way through a codec."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith.codecs.canonical import CanonicalCodec
from weightsmith.interfaces import Codec
from weightsmith.layout import Weights


def reconstruction_error(codec: Codec, weights: Weights) -> dict[str, Float[Tensor, " network"]]:
    """For each floating tensor and network `rms(decode(encode(w)) - w) / rms(w)`, in float64.

    Of a canonical codec w is the canonical form, since another is not what it is to give back. 0 / 0 counts as 0.
    """
    wanted = codec.canonical(weights) if isinstance(codec, CanonicalCodec) else weights
    with torch.no_grad():
        found = codec.decode(codec.encode(weights), weights.layout)
    errors = {}
    for name, (start, end) in weights.layout.offsets.items():
        before, after = (part.vectors[:, start:end].double() for part in (wanted, found))
        error = (after - before).norm(dim=1)
        errors[name] = torch.where(error > 0, error / before.norm(dim=1), 0.0)
    return errors
