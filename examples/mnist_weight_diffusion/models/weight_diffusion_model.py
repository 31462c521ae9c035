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
    """Predicts `noise = (x_t - alpha(t) f(x_t, t)) / sigma(t)` in `x_t = alpha(t) x_0 + sigma(t) noise`.

    `f` is the plain perceptron on `[x_t, e(t)]`; it says the data, from which the noise follows exactly. The other way
    round fails: `hidden` units let no more than `hidden` numbers through, so `f` cannot say the noise of a hundred
    thousand weights. Its error `|f - x_0|^2` is that of the noise times `(sigma / alpha)^2`: Ho et al. 2020 (arXiv
    2006.11239), equation 14, in other weights. Samples are drawn by their algorithm 2 over all time steps.

    Vectors are `[batch, latent_dim]`; weights w enter as `x_0 = (w - mean) / scale`. All that it samples with is in its
    state dict.
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
        options = {"hidden": hidden, "layers": layers, "time_embedding": time_embedding}
        self.f = cast(nn.Module, make_denoiser("simple", self.space, ConditionKinds(), options, seed))
        self.register_buffer("betas", path.betas.float())
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> SimpleWeightDiffusion:
        """The model that a state dict belongs to, sized by its tensors and holding them without a copy.

        Raises `LayoutMismatch` when they do not fit together.
        """
        try:
            layers = len([name for name in state if name.startswith("f.body.") and name.endswith(".weight")]) - 1
            latent_dim, hidden = state[f"f.body.{2 * layers}.weight"].shape
            time_embedding, timesteps = len(state["f.time.body.2.weight"]), len(state["betas"])
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
        """What weightsmith trains and samples: `f`, which says the data, along the path of the betas, by DDPM."""
        path = self.path
        return DiffusionGenerator(self.space, cast(Denoiser, self.f), path, "x0", sampler="ddpm", steps=path.timesteps)

    @property
    def path(self) -> VariancePreserving:
        return VariancePreserving(self.betas)

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
        """The predicted noise in standardised states, at times `t = step / timesteps` in (0, 1]."""
        at = self.path.coefficients(t.cpu()).over(x)
        return (x - at.alpha * self.f(x[:, None], t)[:, 0]) / at.sigma
