"""A denoiser of weights for any architecture: noisy weights in, the velocity of their flow out.

Units are read out of the noisy weights by the adjoint of how they are written, see one another, and write the weights
that they should have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.denoisers.embedding import TimeEmbedding
from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.context import KINDS, SLOTS
from weightsmith.hypernetworks.encoding import UnitEncoder, standardised
from weightsmith.hypernetworks.network import Hypernetwork, HypernetworkSizes

_START = -0.5  # of the written weights' share in the velocity: from noise, data lie against it
_STATISTICS = 2


class GraphDenoiser(nn.Module):
    """`v(x, t)` for states x of any architecture, equivariant to permutations of its units by construction.

    A state is a vector `[parameter]`: all tensors of the blueprint, end to end, each as `(W - base) / (scale spread)`.
    `scale` is that of the usual initialisation, `spread` what trained tensors of its kind have beyond it (see `fit`).
    Of data and noise of variance one, with `alpha = 1 - t` and `sigma = t`,

        v = ((sigma - alpha) x + a_T(t) x + b_T(t) w) / (alpha^2 + sigma^2),

    where the first term alone is the best guess that looks at nothing, w is written from the codes of the units, and
    the coefficients of each tensor T are learned.
    """

    spread: Tensor

    def __init__(self, sizes: HypernetworkSizes, encoder_rank: int = 64) -> None:
        super().__init__()
        self.sizes = sizes
        self.time = TimeEmbedding(sizes.dim)
        self.encoder = UnitEncoder(sizes.noise, encoder_rank, group_share=sizes.group_share)
        self.hear = nn.Linear(sizes.dim, sizes.noise)
        self.summary = nn.Linear(encoder_rank + _STATISTICS, sizes.dim)
        self.body = Hypernetwork(sizes)
        self.coefficients = nn.Linear(sizes.dim, 2)
        nn.init.zeros_(self.coefficients.weight)
        with torch.no_grad():
            self.coefficients.bias.copy_(torch.tensor([0.0, _START]))
        self.register_buffer("spread", torch.ones(len(KINDS) + 1, len(SLOTS) + 1))

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and the states that it takes."""
        return self.spread.device

    def forward(
        self, blueprint: Blueprint, state: Float[Tensor, " parameter"], t: Float[Tensor, ""]
    ) -> Float[Tensor, " parameter"]:
        """The velocity `noise - data` at a state and a time in [0, 1], where 1 is noise."""
        blueprint = blueprint.on(self.device)
        values, time = parts(blueprint, state), self.time(t[None])[0]
        told = self.hear(time).expand(len(values), -1)
        encoded = self.encoder.encode(blueprint, values, told)
        known = torch.cat([encoded.tensors, _statistics(values)], 1)
        units, tensors = self.body.codes(blueprint, encoded.units, time + self.summary(known))
        written = self.body.pairs(blueprint, units, tensors)
        shares = self.coefficients(tensors).float()
        found = []
        for plan, value, share in zip(blueprint.tensors, values, shares, strict=True):
            aim = (written[plan.names[0]] - plan.base) / plan.scale
            found.append((share[0] * value + share[1] * aim).flatten())
        sigma, alpha = t, 1 - t
        return ((sigma - alpha) * state + torch.cat(found)) / (alpha.square() + sigma.square())

    def state(self, blueprint: Blueprint, weights: Mapping[str, Tensor]) -> Float[Tensor, " parameter"]:
        """The state that stands for weights. Raises `BadInput` for a tensor that is missing or of another shape."""
        values = [value.to(self.device) for value in standardised(blueprint, blueprint.read(weights))]
        spreads = self._spreads(blueprint)
        return torch.cat([(value / spread).flatten() for value, spread in zip(values, spreads, strict=True)])

    def weights(self, blueprint: Blueprint, state: Float[Tensor, " parameter"]) -> dict[str, Tensor]:
        """The inverse of `state`: tensors by name."""
        found, spreads = {}, self._spreads(blueprint)
        for plan, value, spread in zip(blueprint.tensors, parts(blueprint, state), spreads, strict=True):
            for name in plan.names:
                found[name] = plan.base + value * (spread * plan.scale)
        return blueprint.stored(found)

    def fit(self, networks: Iterable[tuple[Blueprint, Mapping[str, Tensor]]]) -> None:
        """Take the root mean squares of trained tensors of each kind and slot, which keep 1 where there are none."""
        squares, counts = torch.zeros_like(self.spread), torch.zeros_like(self.spread)
        for blueprint, weights in networks:
            kinds, slots = (index.to(self.device) for index in _kinds(blueprint))
            means = torch.stack([value.square().mean() for value in standardised(blueprint, weights)]).to(self.device)
            squares.index_put_((kinds, slots), means, accumulate=True)
            counts.index_put_((kinds, slots), torch.ones_like(means), accumulate=True)
        found = (squares / counts.clamp_min(1)).sqrt()
        self.spread.copy_(torch.where(found > 0, found, 1.0))

    def _spreads(self, blueprint: Blueprint) -> Tensor:
        kinds, slots = _kinds(blueprint)
        return self.spread[kinds.to(self.device), slots.to(self.device)]


def parts(blueprint: Blueprint, state: Float[Tensor, " parameter"]) -> list[Tensor]:
    """The tensors of a state, in the order of the blueprint and of their shapes."""
    lengths = [math.prod(plan.shape) for plan in blueprint.tensors]
    pieces = state.split(lengths)
    return [piece.reshape(plan.shape) for plan, piece in zip(blueprint.tensors, pieces, strict=True)]


def _statistics(values: list[Tensor]) -> Float[Tensor, "tensor statistic"]:
    """What centred codes cannot hear: the mean of each tensor and the logarithm of its root mean square."""
    means = torch.stack([value.mean() for value in values])
    return torch.stack([means, torch.stack([value.square().mean() for value in values]).add(1e-6).log() / 2], 1)


def _kinds(blueprint: Blueprint) -> tuple[Tensor, Tensor]:
    """The place of each tensor's kind and slot in `KINDS` and `SLOTS`, one past the last for another."""
    features = blueprint.features.cpu()
    kinds, slots = features[:, : len(KINDS) + len(SLOTS)].split([len(KINDS), len(SLOTS)], 1)
    return tuple(  # type: ignore[return-value]
        torch.where(one.any(1), one.argmax(1), one.shape[1]) for one in (kinds, slots)
    )
