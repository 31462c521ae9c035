"""A continuous condition: warped, standardised by the training data, embedded, and checked against its range."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weightsmith.denoisers.condition_batch import Warp
from weightsmith.denoisers.embedding import octaves, perceptron
from weightsmith.errors import BadInput

MARGIN = 0.05  # of the trained range: within it a wish is warned of, beyond it refused
EPSILON = 1e-3  # keeps logit and logarithm finite at 0 and 1
DOMAINS = {"accuracy": (0.0, 1.0), "loss": (0.0, float("inf"))}


def warped(values: Float[Tensor, " batch"], warp: Warp) -> Float[Tensor, " batch"]:
    """`log((v + e) / (1 - v + e))` for "logit", `log(v + e)` for "log", `v` for "none"; e = 0.001.

    The logit tells .60 from .62 as well as .96 from .962 and .990 from .9905 or so: errors count in proportion.
    """
    if warp == "logit":
        inside = values.clamp(0, 1)
        return torch.log((inside + EPSILON) / (1 - inside + EPSILON))
    return torch.log(values.clamp(min=0) + EPSILON) if warp == "log" else values


class ContinuousCondition(nn.Module):
    """`c = V2 silu(V1 [z, sin, cos])` of `z = (warp(v) - mean) / std`, or a learned null where it is not asked.

    `mean` and `std` are of the warped training values, `low` and `high` the range of the values themselves, `count`
    how many there were; all are saved with the module, and set by `observe`.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    count: Tensor

    def __init__(self, name: str, width: int, warp: Warp, waves: int = 6) -> None:
        super().__init__()
        self.name, self.warp, self.waves = name, warp, waves
        for buffer, value in (("mean", 0.0), ("std", 1.0), ("low", 0.0), ("high", 0.0)):
            self.register_buffer(buffer, torch.tensor(value))
        self.register_buffer("count", torch.tensor(0))
        self.body = perceptron(1 + 2 * waves, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, values: Float[Tensor, " batch"], present: Bool[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        # An absent value may be NaN, which would reach the gradient even through a branch that is not taken.
        known = torch.where(present, values, self.high)
        z = (warped(known, self.warp) - self.mean) / self.std
        return torch.where(present[:, None], self.body(octaves(z, self.waves)), self.null)

    @torch.no_grad()
    def observe(self, values: Float[Tensor, " value"]) -> None:
        """Take range, mean and deviation from training values; NaN (not measured) is left out.

        Raises `BadInput` when nothing was measured, or for a value that no such measure has.
        """
        measured = values[~values.isnan()].double()
        if len(measured) == 0:
            raise BadInput(f"no training network has a measured {self.name}", f"do not train with {self.name}")
        self._require_domain(measured)
        z = warped(measured, self.warp)
        deviation = z.std(correction=0)
        facts = {"mean": z.mean(), "std": deviation if deviation > 1e-6 else torch.tensor(1.0)}
        facts |= {"low": measured.min(), "high": measured.max(), "count": torch.tensor(len(measured))}
        for buffer, fact in facts.items():
            getattr(self, buffer).copy_(fact)

    def check(self, values: Float[Tensor, " value"]) -> None:
        """Hold wishes against the trained range: warn within 5 % of the range outside it, raise `BadInput` beyond."""
        self._require_domain(values)
        if int(self.count) == 0:
            raise BadInput(
                f"{self.name} was asked of a network that was not trained with it",
                "train it, or do not ask for it",
            )
        low, high = float(self.low), float(self.high)
        rounding = 1e-6 * max(1.0, abs(low), abs(high))
        outside = float(torch.maximum(low - values, values - high).max())
        if outside <= rounding:
            return
        worst = values[torch.maximum(low - values, values - high).argmax()]
        message = f"{self.name} {float(worst):.6g} lies outside the trained range {low:.6g} to {high:.6g}"
        if outside > MARGIN * (high - low) + rounding:
            raise BadInput(message, f"ask for a value in it, or at most {MARGIN:.0%} of the range outside it")
        warnings.warn(f"{message}; the result is an extrapolation", stacklevel=3)

    def _require_domain(self, values: Tensor) -> None:
        low, high = DOMAINS[self.name]
        for value in values[~((values >= low) & (values <= high) & values.isfinite())][:1].tolist():
            raise BadInput(
                f"{self.name} {value:.6g} is not within {low:g} to {high:g}",
                "give an accuracy as a fraction, a loss as a mean cross-entropy",
            )
