"""The autoencoder of single tokens, and what its training minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from weightsmith.codecs.principal import PrincipalAxes
from weightsmith.interfaces import LossRecord

KIND_FEATURES = 16


class TokenAutoencoder(nn.Module):
    """`z = A x + f(x, e_k)` and `x = B z + g(z, e_k)` for a token x `[row, dim]` of kind k `[row]`, z `[row, latent]`.

    The embedding e tells f and g which part of the network a token is. A and B are linear, and f and g are zero at the
    start, so that training starts from the principal axes that A and B are set to.
    """

    def __init__(self, dim: int, latent: int, hidden: Sequence[int], kinds: int) -> None:
        super().__init__()
        self.kind = nn.Embedding(kinds, KIND_FEATURES)
        self.into, self.out_of = nn.Linear(dim, latent), nn.Linear(latent, dim)
        self.bend = _perceptron([dim + KIND_FEATURES, *hidden, latent])
        self.unbend = _perceptron([latent + KIND_FEATURES, *reversed(hidden), dim])

    def start_from(self, axes: PrincipalAxes) -> None:
        """Set A and B to principal axes, of which there may be fewer than latent numbers."""
        count = len(axes.axes)
        with torch.no_grad():
            for layer in (self.into, self.out_of):
                layer.weight.zero_()
                layer.bias.zero_()
            self.into.weight[:count] = axes.axes
            self.into.bias[:count] = -(axes.axes @ axes.mean)
            self.out_of.weight[:, :count] = axes.axes.T
            self.out_of.bias.copy_(axes.mean)

    def encode(self, x: Float[Tensor, "row dim"], kind: Int[Tensor, " row"]) -> Float[Tensor, "row latent"]:
        return self.into(x) + self.bend(torch.cat([x, self.kind(kind)], dim=1))

    def decode(self, z: Float[Tensor, "row latent"], kind: Int[Tensor, " row"]) -> Float[Tensor, "row dim"]:
        return self.out_of(z) + self.unbend(torch.cat([z, self.kind(kind)], dim=1))


@dataclass(frozen=True)
class Reconstruction:
    """The mean squared error of decoded tokens over their real numbers, padding left out.

    In training, latents are decoded with Gaussian noise of `noise` deviations of each latent number in the batch, so
    that near latents decode to near weights; relative, so that larger latents do not evade it.
    """

    valid: Bool[Tensor, "token dim"]
    kind: Int[Tensor, " token"]
    noise: float

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        network, values, kind = generator.network, batch["values"], self.kind[batch["token"]]
        latents = network.encode(values, kind)
        if self.noise:
            deviation = latents.detach().std(dim=0, correction=0)
            latents = latents + self.noise * deviation * torch.randn(latents.shape, generator=rng)
        return LossRecord(self._error(network.decode(latents, kind), values, batch["token"]), {})

    def clean(self, network: TokenAutoencoder, examples: Mapping[str, Tensor]) -> float:
        """The same error without noise and gradients."""
        kind = self.kind[examples["token"]]
        with torch.no_grad():
            decoded = network.decode(network.encode(examples["values"], kind), kind)
            return float(self._error(decoded, examples["values"], examples["token"]))

    def _error(self, found: Tensor, wanted: Tensor, token: Tensor) -> Tensor:
        real = self.valid[token]
        return ((found - wanted) * real).square().sum() / real.sum()


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    last = nn.Linear(widths[-2], widths[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
