"""Step 3: train the diffusion model on the one extracted weight vector, repeated to form a data set."""

from __future__ import annotations

from config import DiffusionSettings
from experiment import Experiment, run
from models.weight_diffusion_model import SimpleWeightDiffusion
from torch import Tensor

from weightsmith import write_checkpoint
from weightsmith.files import require_writable_folder
from weightsmith.objectives.matching import VALUES, matching_loss
from weightsmith.seeds import derive_seed
from weightsmith.training import LoopSettings, Trainer, TrainingProgress


def train(model: SimpleWeightDiffusion, vectors: Tensor, settings: DiffusionSettings, seed: int) -> None:
    """Minimise the error of the predicted noise; the step size falls to zero along a cosine."""

    def on_epoch(progress: TrainingProgress) -> None:
        print(f"Epoch {progress.epoch}/{settings.epochs}: loss = {progress.loss:.4f}, {progress.seconds:.0f} s")

    loop = LoopSettings(schedule="cosine", planned_epochs=settings.epochs)
    trainer = Trainer(
        model.generator,
        matching_loss,
        {VALUES: vectors[:, None]},
        settings.batch_size,
        settings.learning_rate,
        seed,
        on_epoch=on_epoch,
        settings=loop,
    )
    trainer.run(settings.epochs)
    trainer.finish()


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    settings, seed = experiment.config.weight_diffusion, experiment.config.seed
    vector, path = experiment.extracted(experiment.original()), experiment.path("diffusion_model")
    require_writable_folder(path.parent)
    model = SimpleWeightDiffusion(
        vector.shape[1],
        settings.timesteps,
        settings.noise_schedule,
        time_embedding=settings.time_embedding,
        hidden=settings.hidden,
        layers=settings.layers,
        seed=derive_seed(seed, "diffusion"),
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"Diffusion model: {parameters:,} parameters; {path.name} will be {4 * parameters / 1e6:,.0f} MB")
    model.fit_scale(vector)
    vectors = model.standardised(vector).to(experiment.device).expand(settings.repeats, -1)  # repeated without a copy
    print(f"Training set: one vector of {model.latent_dim:,} weights, {settings.repeats} times")
    train(model.to(experiment.device), vectors, settings, derive_seed(seed, "order"))
    write_checkpoint(path, model.state_dict())
    print(f"Diffusion model saved to {path}")


if __name__ == "__main__":
    run(main)
