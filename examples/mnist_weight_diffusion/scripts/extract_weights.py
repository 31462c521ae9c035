"""Step 2: flatten and concatenate the classifier's 'weight' parameters, and note their number in the settings."""

from __future__ import annotations

from config import update_latent_dim
from experiment import WEIGHTS, Experiment, run

from weightsmith import write_checkpoint


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    original = experiment.original()
    vector, path = original.vectors()[0], experiment.path("extracted_weights")
    kept = [spec for spec in original.weights.layout.tensors if spec.role == "weight"]
    for spec in kept:
        print(f"{spec.name:<14} {list(spec.shape)}: {spec.numel:,} numbers")
    left_out = original.weights.layout.parameters - len(vector)
    print(
        f"Left out: {left_out:,} biases; a generated network is completed by those of {experiment.path('classifier')}"
    )
    write_checkpoint(path, {WEIGHTS: vector})
    print(f"{len(vector):,} weights saved to {path}")
    changed, settings = update_latent_dim(experiment.config_path, len(vector)), experiment.config_path
    print(f"weight_diffusion.latent_dim {'is now' if changed else 'was already'} {len(vector)} in {settings}")


if __name__ == "__main__":
    run(main)
