"""Clamping: numbers that are given stay as given, and the sampler fills in the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.diffusion.path import Path
from weightsmith.diffusion.transition import counted_mask
from weightsmith.errors import BadInput


@dataclass(frozen=True, eq=False)
class Clamp:
    """Known `values` (as large as the states, or of one sample for all) and which of them are `known`.

    Replacement as in RePaint, Lugmayr et al. 2022 (arXiv 2201.09865), equations 8a and 8c, without its resampling.
    `known` is `[token, dim]` or whatever else broadcasts to the states; the values elsewhere are not read.
    """

    values: Float[Tensor, " ..."]
    known: Bool[Tensor, " ..."]

    def apply(
        self,
        x: Float[Tensor, " batch *rest"],
        noise: Float[Tensor, " batch *rest"],
        t: Float[Tensor, " batch"],
        path: Path,
    ) -> Float[Tensor, " batch *rest"]:
        """`alpha(t) values + sigma(t) noise` where known and `x` elsewhere; at t = 0 the values, bitwise.

        Raises `BadInput` when values or mask do not fit the states.
        """
        known = counted_mask(self.known, x)
        try:
            values = self.values.to(x).expand(x.shape)
        except RuntimeError:
            raise BadInput(
                f"given values {list(self.values.shape)} do not fit states {list(x.shape)}",
                "give one set of values for all samples, or one a sample",
            ) from None
        return torch.where(known, path.sample(values, noise, t).state, x)

    def drawn(self, counted: Bool[Tensor, " ..."] | None) -> Bool[Tensor, " ..."]:
        """Which of the `counted` dimensions (all, for None) a sampler draws: those that are not known."""
        return ~self.known if counted is None else counted.to(self.known.device) & ~self.known
