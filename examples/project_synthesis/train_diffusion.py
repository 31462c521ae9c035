"""Step 2: train the diffusion model to predict the weights of epoch N + 1 from those of epoch N."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path

import torch
from diffusion_model import DIFFUSION_FILE, SimpleWeightSpaceDiffusion, flatten_weights
from experiment import checkpoint_path, options, positive, read_original, run, whole_dataset
from target_cnn import TargetCNN
from torch import Tensor

from weightsmith import Layout, write_checkpoint
from weightsmith.ensemble import choose_device
from weightsmith.errors import EnvironmentFault
from weightsmith.files import require_writable_folder
from weightsmith.generators.transition import TransitionGenerator
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.seeds import derive_seed
from weightsmith.tokens import Tokens
from weightsmith.training import Trainer, TrainingProgress


def require_space(parameters: int) -> None:
    """Say how large the model's file will be; raise `EnvironmentFault` before training if the disk cannot take it."""
    size, free = 4 * parameters, shutil.disk_usage(Path.cwd()).free
    print(f"Diffusion model: {parameters:,} parameters; {DIFFUSION_FILE} will be {size / 1e6:,.0f} MB")
    print(f"Training holds about {3 * size / 1e6:,.0f} MB in memory (weights and two moments)")
    if free < size + 2**20:
        raise EnvironmentFault(
            f"{DIFFUSION_FILE} will be {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free on the disk",
            "free some space, run in a folder on another disk, or give a smaller --hidden",
        )


def train(
    examples: Mapping[str, Tensor], hidden: int, epochs: int, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """The trained model's state dict alone: the optimizer's moments, twice its size, are let go on return."""
    torch.manual_seed(derive_seed(seed, "diffusion"))
    network = SimpleWeightSpaceDiffusion(examples["now"].shape[1], hidden_dim=hidden).to(device)

    def on_epoch(progress: TrainingProgress) -> None:
        if progress.epoch % 10 == 0 or progress.epoch == epochs:
            print(f"Epoch {progress.epoch}/{epochs}: loss = {progress.loss:.3e}, {progress.seconds:.0f} s")

    placed = {name: value.to(device) for name, value in examples.items()}
    trainer = Trainer(TransitionGenerator(network), transition_loss, placed, 4, 1e-4, seed, on_epoch=on_epoch)
    trainer.run(epochs)
    return network.state_dict()


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--epochs", type=positive, default=50, help="epochs of training (default: 50)")
    parser.add_argument("--hidden", type=positive, default=512, help="units of both hidden layers (default: 512)")
    wanted = parser.parse_args()

    device = choose_device(wanted.device)
    print(f"Using device: {device}")
    initial = read_original(0)
    dataset = whole_dataset(wanted.dataset)
    layout = Layout.of(TargetCNN.sized_as(initial, dataset.input_shape, dataset.classes))
    later = [read_original(epoch) for epoch in takewhile(lambda epoch: checkpoint_path(epoch).exists(), count(1))]
    examples = transition_pairs(Tokens.single(flatten_weights(layout, [initial, *later])))
    print(f"Target CNN: flat dimension = {layout.parameters}")
    print(f"{len(later)} transitions between {len(later) + 1} checkpoints")

    require_writable_folder(DIFFUSION_FILE.parent)
    with torch.device("meta"):
        planned = SimpleWeightSpaceDiffusion(layout.parameters, hidden_dim=wanted.hidden)
    require_space(sum(parameter.numel() for parameter in planned.parameters()))
    state = train(examples, wanted.hidden, wanted.epochs, derive_seed(wanted.seed, "order"), device)
    write_checkpoint(DIFFUSION_FILE, state)
    print(f"Diffusion model saved to {DIFFUSION_FILE}")


if __name__ == "__main__":
    run(main)
