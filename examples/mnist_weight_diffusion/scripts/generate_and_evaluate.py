"""Step 4: generate weight vectors, complete them to networks, save these and measure them beside the original."""

from __future__ import annotations

import json

import torch
from evaluation import Comparison, distribution_figure
from experiment import Experiment, again, run
from models.weight_diffusion_model import SimpleWeightDiffusion

from weightsmith import Weights, write_checkpoint
from weightsmith.errors import BadInput, LayoutMismatch
from weightsmith.files import require_writable_folder, write_bytes
from weightsmith.report.figures import as_png
from weightsmith.seeds import derive_seed

SAMPLE = "generated_weights_sample_{}.pth"


def load_diffusion(experiment: Experiment, vector: torch.Tensor) -> SimpleWeightDiffusion:
    """The trained model. Raises `BadInput` where it was trained on other weights than `vector`."""
    path = experiment.path("diffusion_model")
    state = experiment.read(path, "train_diffusion.py")
    try:
        model = SimpleWeightDiffusion.from_state(state)
    except LayoutMismatch as error:
        raise LayoutMismatch(f"{path}: {error.message}", again("train_diffusion.py")) from None
    learned = model.mean.clone(), model.scale.clone()
    model.fit_scale(vector)
    if model.latent_dim != vector.shape[1] or learned != (model.mean, model.scale):
        raise BadInput(
            f"{path} was trained on other weights than {experiment.path('extracted_weights')}",
            again("train_diffusion.py"),
        )
    return model.to(experiment.device)


def save(experiment: Experiment, samples: Weights) -> None:
    folder = experiment.path("generated_weights")
    require_writable_folder(folder)
    for stale in sorted(folder.glob(SAMPLE.format("*"))):  # samples of two runs must not be taken for one
        stale.unlink()
    for number, state in enumerate(samples.states(), 1):
        write_checkpoint(folder / SAMPLE.format(number), state)
    print(f"{len(samples)} networks saved to {folder}/{SAMPLE.format('N')}")


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    original = experiment.original()
    model = load_diffusion(experiment, experiment.extracted(original))
    count, results = experiment.config.generation.samples, experiment.path("evaluation_results")
    require_writable_folder(results)
    print(f"Generating {count} vectors of {model.latent_dim:,} weights in {len(model.betas)} steps...")
    rng = torch.Generator().manual_seed(derive_seed(experiment.config.seed, "samples"))
    samples = original.completed(model.sample(count, rng).cpu())
    save(experiment, samples)

    comparison = Comparison.measure(experiment, original, samples)
    for line in comparison.lines():
        print(line)
    write_bytes(results / "evaluation.json", json.dumps(comparison.document(experiment), indent=2).encode())
    write_bytes(results / "evaluation.png", as_png(comparison.figure()))
    figure = distribution_figure(experiment, original, samples)
    write_bytes(results / "weight_distribution.png", as_png(figure))
    print(f"Evaluation saved to {results}/")


if __name__ == "__main__":
    run(main)
