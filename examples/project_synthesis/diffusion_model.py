"""The weight-space model of the note's section 2.2, its file, and the vectors it works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightsmith import Layout, Weights, read_checkpoint
from weightsmith.denoisers.mlp import TimeMLP
from weightsmith.errors import BadInput, LayoutMismatch

DIFFUSION_FILE = Path("diffusion_optimizer.pth")
_REMEDY = "run train_diffusion.py again in this folder"


class SimpleWeightSpaceDiffusion(TimeMLP):
    """`f(z_N, N) = z_{N+1}` on raw weight vectors `[batch, target_model_flat_dim]`; the time is the epoch itself."""

    def __init__(self, target_model_flat_dim: int, time_emb_dim: int = 128, hidden_dim: int = 512) -> None:
        super().__init__(target_model_flat_dim, time_emb_dim, hidden_dim)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> SimpleWeightSpaceDiffusion:
        """The model that a state dict belongs to, sized by its tensors and holding them without a copy.

        Raises `LayoutMismatch` when they do not fit together.
        """
        try:
            names = ("body.4.weight", "time.0.weight", "body.0.weight")
            flat, embedding, hidden = (state[name].shape[0] for name in names)
        except (KeyError, IndexError) as error:
            raise LayoutMismatch(f"not a SimpleWeightSpaceDiffusion: {error}", _REMEDY) from None
        with torch.device("meta"):
            network = cls(flat, embedding, hidden)
        Layout.of(network).check(state)
        network.load_state_dict(state, assign=True)
        return network


def load_diffusion(flat_dim: int, path: Path = DIFFUSION_FILE) -> SimpleWeightSpaceDiffusion:
    """The model in `path`, for target networks of `flat_dim` weights.

    Raises `ArtifactError` for a damaged file, `BadInput` for a missing one, `LayoutMismatch` for another model.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist", "run train_diffusion.py first, in this folder")
    network = SimpleWeightSpaceDiffusion.from_state(read_checkpoint(path))
    found = network.body[-1].out_features
    if found != flat_dim:
        raise LayoutMismatch(f"{path} generates {found} weights, the target CNN has {flat_dim}", _REMEDY)
    return network


def flatten_weights(layout: Layout, states: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "network flat_dim"]:
    """One vector a state dict. Raises `LayoutMismatch` for one of another layout."""
    return layout.flatten(states).vectors


def unflatten_weights(layout: Layout, vectors: Float[Tensor, "network flat_dim"]) -> list[dict[str, Tensor]]:
    """The inverse of `flatten_weights`."""
    return Weights.generated(layout, vectors).states()
