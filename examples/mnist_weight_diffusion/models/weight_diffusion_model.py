"""The note's weight diffusion model: noise prediction on flat weight vectors, sampled by DDPM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith import Layout
from weightsmith.denoisers import ConditionKinds, Denoiser, make_denoiser
from weightsmith.diffusion import VariancePreserving, make_path
from weightsmith.errors import LayoutMismatch
from weightsmith.generators.diffusion import DiffusionGenerator
from weightsmith.interfaces import Condition
from weightsmith.tokens import TokenSpace


class SimpleWeightDiffusion(nn.Module):
    """Predicts the noise in `x_t = alpha(t) x_0 + sigma(t) noise`, for vectors `[batch, latent_dim]`.

    Trained as in Ho et al. 2020 (arXiv 2006.11239, equation 14) and sampled by their algorithm 2 over all time steps;
    weights enter as `x_0 = (w - mean) / scale`. The network is weightsmith's residual perceptron, which hands a learned
    multiple of its input on to its output: `hidden` units let no more than `hidden` numbers of the noise through, and
    without a way around them nothing would ever be denoised. All that it samples with is in its state dict.
    """

    mean: Tensor
    scale: Tensor
    betas: Tensor

    def __init__(
        self,
        latent_dim: int,
        timesteps: int = 1000,
        noise_schedule: str = "linear",
        *,
        time_embedding: int = 128,
        hidden: int = 128,
        layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.device("cpu"):  # small tables that must hold their values also where the network is only a form
            self.space = TokenSpace.single(latent_dim)
            path = cast(VariancePreserving, make_path(f"vp-{noise_schedule}", timesteps=timesteps))
        options = {"width": hidden, "blocks": layers, "condition_width": time_embedding}
        network = make_denoiser("mlp", self.space, ConditionKinds(), options, seed)
        self.network = cast(nn.Module, network)
        self.register_buffer("betas", path.betas.float())
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> SimpleWeightDiffusion:
        """The model that a state dict belongs to, sized by its tensors and holding them without a copy.

        Raises `LayoutMismatch` when they do not fit together.
        """
        try:
            hidden, latent_dim = state["network.enter.weight"].shape
            time_embedding, timesteps = len(state["network.time.body.2.weight"]), len(state["betas"])
            layers = len([name for name in state if name.endswith(".body.0.weight") and ".blocks." in name])
            with torch.device("meta"):  # shapes only: a file must not choose how much memory is filled
                model = cls(latent_dim, timesteps, time_embedding=time_embedding, hidden=hidden, layers=layers)
        except (KeyError, TypeError, ValueError) as error:
            raise LayoutMismatch(
                f"not a SimpleWeightDiffusion: {error}", "give what train_diffusion.py wrote"
            ) from None
        Layout.of(model).check(state)
        model.load_state_dict(state, assign=True)
        return model

    @property
    def latent_dim(self) -> int:
        return self.space.dim

    @property
    def generator(self) -> DiffusionGenerator:
        """What weightsmith trains and samples: the network, the path of its betas, noise prediction, DDPM."""
        path = VariancePreserving(self.betas)
        network = cast(Denoiser, self.network)
        return DiffusionGenerator(self.space, network, path, "noise", sampler="ddpm", steps=path.timesteps)

    def fit_scale(self, vectors: Float[Tensor, "network latent_dim"]) -> None:
        """Take `mean` and `scale`, the deviation, of all numbers of the training vectors."""
        self.mean.copy_(vectors.mean())
        deviation = vectors.std(correction=0)
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0))

    def standardised(self, vectors: Float[Tensor, "network latent_dim"]) -> Float[Tensor, "network latent_dim"]:
        return (vectors - self.mean) / self.scale

    def sample(self, n: int, rng: torch.Generator) -> Float[Tensor, "sample latent_dim"]:
        """`n` new weight vectors from noise, on the scale of the training vectors."""
        return self.generator.sample(n, Condition(), rng).final.vectors() * self.scale + self.mean

    def forward(
        self, x: Float[Tensor, "batch latent_dim"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch latent_dim"]:
        """The noise in standardised states at times in (0, 1], `t = step / timesteps`."""
        return self.network(x[:, None], t)[:, 0]
