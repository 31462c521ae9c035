"""Step 1: train the classifier and save its state dict."""

from __future__ import annotations

from experiment import Experiment, run

from weightsmith import Layout, Weights, evaluate, write_checkpoint
from weightsmith.ensemble import Member, TrainingPlan, choose_precision, train_networks
from weightsmith.files import require_writable_folder
from weightsmith.seeds import derive_seed


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    settings, seed, device = experiment.config.mnist, experiment.config.seed, experiment.device
    path = experiment.path("classifier")
    network = experiment.new_classifier(derive_seed(seed, "init"))
    print(f"Classifier: {settings.model}, {Layout.of(network).parameters:,} parameters; data set: {settings.dataset}")

    require_writable_folder(path.parent)
    plan = TrainingPlan(settings.epochs, settings.batch_size, settings.optimizer, choose_precision("auto", device))
    member = Member(derive_seed(seed, "training"), settings.learning_rate)
    weights, dataset = Weights.of(network), experiment.dataset
    for capture in train_networks(network, weights, dataset.train, plan, [member], device=device):
        weights = capture.weights
        print(f"Epoch {capture.epoch}/{settings.epochs}: training loss = {float(capture.losses):.4f}")
    found = evaluate(network, weights, dataset.test, device=device)[0]
    print(f"Test images: accuracy = {found.accuracy:.2%}, loss = {found.loss:.4f}")
    write_checkpoint(path, weights.states()[0])
    print(f"Classifier saved to {path}")


if __name__ == "__main__":
    run(main)
