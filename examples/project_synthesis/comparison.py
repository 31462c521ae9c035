"""Generate along the diffusion model's steps, measure beside the original training, print and plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusion_model import DIFFUSION_FILE, load_diffusion
from experiment import checkpoint_path, options, read_original, whole_dataset
from matplotlib import rc_context
from matplotlib.figure import Figure
from target_cnn import TargetCNN

from weightsmith import Layout, Weights, evaluate
from weightsmith.datasets.record import Dataset
from weightsmith.ensemble import Evaluation, choose_device
from weightsmith.evaluation.distance import NetworkDistance, mean_disagreement
from weightsmith.files import write_bytes
from weightsmith.generators.transition import TransitionGenerator
from weightsmith.interfaces import Condition
from weightsmith.report.figures import COLOURS, STYLE, as_png
from weightsmith.report.trajectory import published
from weightsmith.seeds import derive_seed
from weightsmith.tokens import Tokens

STEPS = 6


@dataclass(frozen=True)
class Experiment:
    """What an evaluation needs: the data, the form of the target, the weights of its epoch 0, seed and device."""

    dataset: Dataset
    network: TargetCNN
    initial: Weights
    seed: int
    device: torch.device

    @classmethod
    def from_command_line(cls, description: str | None) -> Experiment:
        """Read the options and the target's epoch 0; prints the first lines of the note's section 6.4."""
        wanted = options(description).parse_args()
        print("Starting evaluation of diffusion-generated checkpoints...")
        device = choose_device(wanted.device)
        print(f"Using device: {device}")
        state = read_original(0)
        dataset = whole_dataset(wanted.dataset)
        network = TargetCNN.sized_as(state, dataset.input_shape, dataset.classes)
        layout = Layout.of(network)
        print(f"Target CNN: flat dimension = {layout.parameters}")
        return cls(dataset, network, layout.flatten([state]), wanted.seed, device)

    def unseen_init(self, number: int) -> Weights:
        """A random initialisation from a seed of which no training run makes use."""
        seed = derive_seed(self.seed, "unseen init", number)
        return Weights.of(
            TargetCNN.sized_as(self.initial.states()[0], self.dataset.input_shape, self.dataset.classes, seed=seed)
        )

    def evaluate(self, weights: Weights) -> list[Evaluation]:
        return evaluate(self.network, weights, self.dataset.test, device=self.device)


@dataclass(frozen=True)
class Comparison:
    """The generated trajectory (step 0 is its start) and the original one, by epoch; some epochs may be missing.

    `starts` and `ends` hold two networks each: those of the trajectory, and of another that began at an unseen init.
    """

    generated: list[Evaluation]
    original: Mapping[int, Evaluation]
    original_weights: Mapping[int, Weights]
    starts: Weights
    ends: Weights

    @classmethod
    def measure(cls, experiment: Experiment, start: Weights) -> Comparison:
        """Generate from `start`, and measure; prints the note's lines up to the plot."""
        starts = Weights.concatenate([start, experiment.unseen_init(1)])
        states = _generate(experiment, starts)
        print("Evaluating performance along the generated checkpoints...")
        generated = experiment.evaluate(Weights.concatenate([state[0] for state in states]))
        for step, found in enumerate(generated):
            label = f"Generated Step {step}/{STEPS}" if step else "Step 0 (Initial Random Weights)"
            print(f"{label}: {performance(found)}")
        print("Evaluating performance along the original CNN training checkpoints...")
        weights = {epoch: _original(experiment, epoch) for epoch in range(STEPS + 1) if checkpoint_path(epoch).exists()}
        evaluations = experiment.evaluate(Weights.concatenate(list(weights.values())))
        original = dict(zip(weights, evaluations, strict=True))
        for epoch in range(STEPS + 1):
            if epoch in original:
                print(f"Original CNN Epoch {epoch}: {performance(original[epoch])}")
            else:
                print(f"Warning: Original weight file {checkpoint_path(epoch)} not found. Skipping.")
        return cls(generated, original, weights, starts, states[-1])

    def plot(self, experiment: Experiment, path: Path) -> None:
        """Accuracy and loss of both trajectories, and the published ones where the task is the note's."""
        print("Plotting results...")
        write_bytes(path, as_png(self._figure(experiment)))
        print(f"Plot saved to {path}")

    def print_honest_lines(self, experiment: Experiment) -> None:
        """What the accuracies above do not show: how well no model does, and whether the start matters at all."""
        trained = [weights for epoch, weights in self.original_weights.items() if epoch]
        if trained:
            mean = trained[0].replace(Weights.concatenate(trained).vectors.mean(dim=0, keepdim=True))
            baseline = performance(experiment.evaluate(mean)[0])
            print(f"Baseline without a model, the mean of the trained checkpoints: {baseline}")
        distance = NetworkDistance.of(experiment.network, experiment.dataset)
        apart = [distance.mean_pairwise(distance.canonical(weights)) for weights in (self.starts, self.ends)]
        predictions = torch.stack([found.predictions for found in experiment.evaluate(self.ends)])
        print(
            f"Does the start matter? This start and another, unseen one differ by {apart[0]:.4f} ({distance.name}); "
            f"what is generated from them in {STEPS} steps differs by {apart[1]:.2e}, and in "
            f"{mean_disagreement(predictions):.2%} of its predictions."
        )

    def _figure(self, experiment: Experiment) -> Figure:
        with rc_context(STYLE):
            figure = Figure(figsize=(11, 4.2), layout="constrained")
            left, right = figure.subplots(1, 2)
            curves = [("generated (step)", dict(enumerate(self.generated)), COLOURS[0], "o-")]
            curves += [("original training (epoch)", dict(self.original), COLOURS[1], "x--")]
            for label, found, colour, form in curves:
                left.plot(*_curve(found, "accuracy", 100.0, first=1), form, color=colour, label=label)
                right.plot(*_curve(found, "note_loss", 1.0, first=0), form, color=colour, label=label)
            if published.applies_to(experiment.dataset.name, self.starts.layout.parameters):
                steps, style = list(published.GENERATED), {"color": "grey", "label": "the note's generated (step)"}
                accuracies, losses = zip(*published.GENERATED.values(), strict=True)
                left.plot(steps[1:], [100 * accuracy for accuracy in accuracies[1:]], ".:", **style)
                right.plot(steps, losses, ".:", **style)
            left.set(xlabel="generative step or epoch", ylabel="test accuracy (%)", title="Accuracy (step 0 is chance)")
            right.set(
                xlabel="generative step or epoch", ylabel="Avg Loss (the note's scale)", title="Loss", yscale="log"
            )
            left.legend(fontsize=8)
        return figure


def performance(found: Evaluation) -> str:
    return f"Accuracy = {found.accuracy:.2%}, Avg Loss = {found.note_loss:.4f}"


def _generate(experiment: Experiment, starts: Weights) -> list[Weights]:
    """The starts and what each step makes of them; the model, which is large, is let go on return."""
    generator = TransitionGenerator(load_diffusion(starts.layout.parameters).to(experiment.device))
    print(f"Diffusion model loaded from {DIFFUSION_FILE}")
    print(f"Will generate a checkpoints of {STEPS} steps.")
    print(f"Generating checkpoints with diffusion model for {STEPS} steps...")
    condition = Condition(start=Tokens.single(starts.vectors.to(experiment.device)))
    states = generator.sample(len(starts), condition, torch.Generator(), steps=STEPS, keep="all").states
    print(f"Generated step {STEPS}/{STEPS}")
    return [Weights.generated(starts.layout, state.vectors().cpu()) for state in states]


def _original(experiment: Experiment, epoch: int) -> Weights:
    return experiment.initial.layout.flatten([read_original(epoch)])


def _curve(found: Mapping[int, Evaluation], metric: str, factor: float, first: int) -> tuple[list[int], list[float]]:
    steps = [step for step in found if step >= first]
    return steps, [factor * getattr(found[step], metric) for step in steps]
