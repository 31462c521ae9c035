"""The autoencoder codec: learned latents of unit tokens, for latent diffusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from weightsmith.codecs.coverage import require_fitted, require_networks, require_shapes, require_tokens
from weightsmith.codecs.nesting import beside, nested, under
from weightsmith.codecs.principal import principal_axes
from weightsmith.codecs.token_autoencoder import Reconstruction, TokenAutoencoder
from weightsmith.codecs.unit import UnitCodec
from weightsmith.errors import BadInput
from weightsmith.interfaces import Exactness, Generator
from weightsmith.layout import Layout, Weights
from weightsmith.seeds import derive_seed
from weightsmith.tokens import Tokens, TokenSpace
from weightsmith.training import Trainer, TrainingProgress


class AutoencoderCodec:
    """Each unit token of `width` numbers becomes `latent` numbers of mean zero and deviation one, and back.

    One small network serves all tokens and is told which part of a network a token is. So it sees networks x tokens
    examples, where a dense layer on all weights would have more parameters than there are numbers to learn them from,
    and where coordinates in the span of the training networks would confine what is generated to that span.

    Of the networks it is fitted on, the last `held_out` share (at least one; in a zoo's order, of the last runs) is not
    trained on and chooses the epoch; `held_out_error` is the mean squared error of their standardised numbers. The
    start counts as an epoch, and is the PCA of tokens: a fitted codec is never worse than that on them. With
    `held_out=0` the last epoch stands and `held_out_error` is NaN. Lossy; its network has no layer that differs between
    training and use, and the noise on latents is part of the objective alone.
    """

    exactness: Exactness = "lossy"

    def __init__(
        self,
        latent: int = 64,
        hidden: Sequence[int] = (256,),
        width: int | None = 256,
        standardise: str = "tensor",
        epochs: int = 50,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        noise: float = 0.0,
        held_out: float = 0.1,
        seed: int = 0,
    ) -> None:
        for name, value, least in (("latent", latent, 1), ("epochs", epochs, 0), ("batch_size", batch_size, 1)):
            if value < least:
                raise BadInput(f"{name}={value} of the autoencoder codec is too small", f"use {least} or more")
        if not 0 <= held_out < 1 or not 0 <= noise < math.inf:
            raise BadInput(
                f"held_out={held_out}, noise={noise} of the autoencoder codec", "use held_out in [0, 1), noise >= 0"
            )
        self._units = UnitCodec(width, standardise)
        self._latent, self._hidden, self._held_out, self._seed = latent, tuple(hidden), held_out, seed
        self._epochs, self._batch_size, self._learning_rate, self._noise = epochs, batch_size, learning_rate, noise
        self._layout: Layout | None = None
        self._network: TokenAutoencoder | None = None
        self._mean = self._scale = self._error = torch.empty(0)

    @property
    def held_out_error(self) -> float:
        """Mean squared error of the held-out networks' standardised numbers; NaN when none were held out."""
        require_fitted(self._layout, "autoencoder")
        return float(self._error)

    def space(self) -> TokenSpace:
        require_fitted(self._layout, "autoencoder")
        units = self._units.space()
        return TokenSpace(units.meanings, torch.ones(len(units), self._latent, dtype=torch.bool))

    def fit(self, weights: Weights) -> None:
        """Train the network, on the CPU. Raises `BadInput` for a latent wider than a token, or too few networks.

        It takes two to train on, and one more where some are held out.
        """
        require_networks(weights, "autoencoder", least=3 if self._held_out else 2)
        held_out = max(1, math.floor(self._held_out * len(weights))) if self._held_out else 0
        count = len(weights) - held_out
        weights = weights.to("cpu")
        self._units.fit(weights[:count])
        examples, unseen = self._examples(weights[:count]), self._examples(weights[count:])
        network = self._fresh_network()
        network.start_from(principal_axes(examples["values"].double(), self._latent))
        objective = Reconstruction(self._units.space().valid, self._kinds(), self._noise)
        best = _Best(network, objective, unseen)
        trainer = Trainer(
            cast(Generator, _Trained(network)),  # the loop reads its network alone
            objective,
            examples,
            self._batch_size,
            self._learning_rate,
            derive_seed(self._seed, "autoencoder"),
            on_epoch=best.look,
        )
        trainer.run(self._epochs)
        trainer.optimizer.close()
        best.take()
        self._use(network)
        latents = self._encoded(examples)
        deviation = latents.std(dim=0, correction=0)
        self._mean, self._scale = latents.mean(dim=0), torch.where(deviation > 0, deviation, 1.0)
        self._error = torch.tensor(best.error if held_out else math.nan, dtype=torch.float64)
        self._layout = weights.layout

    def encode(self, weights: Weights) -> Tokens:
        require_fitted(self._layout, "autoencoder")
        latents = self._encoded(self._examples(weights))
        latents = (latents - self._mean.to(latents.device)) / self._scale.to(latents.device)
        space = self.space()
        return space.tokens(latents.reshape(len(weights), len(space), self._latent))

    def decode(self, tokens: Tokens, layout: Layout) -> Weights:
        require_fitted(self._layout, "autoencoder").require_same(layout, "layout to decode to")
        assert self._network is not None
        units = self._units.space()
        require_tokens(tokens, len(units), self._latent)
        device = tokens.values.device
        mean, scale, kind = (part.to(device) for part in (self._mean, self._scale, self._kinds().repeat(len(tokens))))
        latents = tokens.values.float().flatten(0, 1) * scale + mean
        values = self._network.to(device).decode(latents, kind)
        return self._units.decode(units.tokens(values.reshape(len(tokens), len(units), units.dim)), layout)

    def tensors(self) -> dict[str, Tensor]:
        require_fitted(self._layout, "autoencoder")
        assert self._network is not None
        own = {"mean": self._mean, "scale": self._scale, "held_out_error": self._error}
        return own | nested("unit", self._units.tensors()) | nested("network", self._network.cpu().state_dict())

    def restore(self, tensors: Mapping[str, Tensor], layout: Layout) -> None:
        self._units.restore(under("unit", tensors), layout)
        own, state = beside(tensors, "unit", "network"), under("network", tensors)
        require_shapes(own, {"mean": (self._latent,), "scale": (self._latent,), "held_out_error": ()})
        with torch.device("meta"):
            network = self._fresh_network()
        require_shapes(state, {name: tuple(value.shape) for name, value in network.state_dict().items()})
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        self._use(network)
        self._mean, self._scale, self._error = own["mean"], own["scale"], own["held_out_error"]
        self._layout = layout

    def _fresh_network(self) -> TokenAutoencoder:
        space = self._units.space()
        if self._latent > space.dim:
            raise BadInput(
                f"latent={self._latent} of the autoencoder codec is more than the {space.dim} numbers of a token",
                f"use at most {space.dim}",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self._seed, "autoencoder network"))
            kinds = len({(m.tensor, m.chunk) for m in space.meanings})
            return TokenAutoencoder(space.dim, self._latent, self._hidden, kinds)

    def _kinds(self) -> Tensor:
        """`[token]`: which tensor a token begins in, and its chunk; units of a tensor are of one kind."""
        known: dict[tuple[str, int], int] = {}
        meanings = self._units.space().meanings
        return torch.tensor([known.setdefault((m.tensor, m.chunk), len(known)) for m in meanings])

    def _examples(self, weights: Weights) -> dict[str, Tensor]:
        """Tokens of all networks as rows: values `[row, dim]` and which token of the space, `[row]`."""
        tokens = self._units.encode(weights)
        rows = torch.arange(len(tokens.meanings)).repeat(len(weights))
        return {"values": tokens.values.float().flatten(0, 1), "token": rows}

    def _encoded(self, examples: Mapping[str, Tensor]) -> Tensor:
        assert self._network is not None
        with torch.no_grad():
            values = examples["values"]
            return self._network.to(values.device).encode(values, self._kinds()[examples["token"]].to(values.device))

    def _use(self, network: TokenAutoencoder) -> None:
        self._network = network.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Trained:
    network: TokenAutoencoder


@dataclass
class _Best:
    """The state of least held-out error so far; the last one where nothing is held out."""

    network: TokenAutoencoder
    objective: Reconstruction
    unseen: Mapping[str, Tensor]
    error: float = math.inf
    state: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.look()

    def look(self, progress: TrainingProgress | None = None) -> None:
        if not len(self.unseen["token"]):
            return
        error = self.objective.clean(self.network, self.unseen)
        if error < self.error:
            self.error = error
            self.state = {name: value.clone() for name, value in self.network.state_dict().items()}

    def take(self) -> None:
        if self.state:
            self.network.load_state_dict(self.state)
