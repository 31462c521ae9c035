"""How good generated networks are, and how they differ from the original: measured, as JSON, and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from experiment import Experiment, Original
from matplotlib.figure import Figure

from weightsmith import Weights, evaluate
from weightsmith.ensemble import Evaluation
from weightsmith.evaluation.distance import NetworkDistance, mean_disagreement
from weightsmith.evaluation.histograms import weight_histograms
from weightsmith.report.figures import COLOURS, histograms_figure, subplots
from weightsmith.seeds import derive_seed


@dataclass(frozen=True)
class Comparison:
    """Generated networks beside the original on the test images.

    `noisy`: the original with random noise in the same tensors, as far from it as the samples are on average: what no
    model reaches. `cosines`: of the flat weight vectors, with the original's. `distances` to the original, and
    `dispersion`, the mean distance among the samples (None for one), remove ReLU scale and unit permutation.
    """

    original: Evaluation
    samples: list[Evaluation]
    noisy: Evaluation
    cosines: list[float]
    deviations: list[float]
    original_deviation: float
    distances: list[float]
    dispersion: float | None
    distance_name: str

    @classmethod
    def measure(cls, experiment: Experiment, original: Original, samples: Weights) -> Comparison:
        dataset = experiment.dataset
        vectors, own = original.codec.encode(samples).vectors(), original.vectors()
        noisy = _noisy(experiment, original, (vectors - own).norm(dim=1).mean())
        networks = Weights.concatenate([original.weights, noisy, samples])
        first, second, *found = evaluate(original.network, networks, dataset.test, device=experiment.device)
        distance = NetworkDistance.of(original.network, dataset)
        canonical = distance.canonical(samples)
        return cls(
            first,
            found,
            second,
            torch.cosine_similarity(vectors, own).tolist(),
            vectors.std(dim=1).tolist(),
            float(own.std()),
            distance.between(canonical, distance.canonical(original.weights))[:, 0].tolist(),
            distance.mean_pairwise(canonical),
            distance.name,
        )

    def lines(self) -> list[str]:
        """What a reader should know, a line each."""
        spread = "" if self.dispersion is None else f" and from one another by {self.dispersion:.4f}"
        apart = sum(self.distances) / len(self.distances)
        disagreement = sum(mean_disagreement(self._pair(found)) or 0.0 for found in self.samples) / len(self.samples)
        return [
            f"Original: {performance(self.original)}",
            *(f"Sample {number}: {performance(found)}" for number, found in enumerate(self.samples, 1)),
            f"Without a model, the original with noise of the samples' size: {performance(self.noisy)}",
            f"Samples differ from the original by {apart:.4f}{spread} ({self.distance_name}), "
            f"and from the original in {disagreement:.2%} of predictions.",
            "One classifier was learned: this is replay of it. New networks need a population to learn from.",
        ]

    def document(self, experiment: Experiment) -> dict[str, Any]:
        rows = zip(self.samples, self.cosines, self.distances, self.deviations, strict=True)
        return {
            "dataset": experiment.dataset.name,
            "seed": experiment.config.seed,
            "original": _figures(self.original) | {"weight_deviation": self.original_deviation},
            "original_with_noise": _figures(self.noisy),
            "samples": [
                _figures(found)
                | {"cosine": cosine, "distance": distance, "weight_deviation": deviation}
                | {"disagreement": mean_disagreement(self._pair(found))}
                for found, cosine, distance, deviation in rows
            ],
            "dispersion": self.dispersion,
            "distance": self.distance_name,
        }

    def figure(self) -> Figure:
        """Accuracy and loss of every sample, with lines at the original's and at those of noise without a model."""
        figure, axes = subplots(1, 2, (9.0, 3.4))
        numbers = range(1, len(self.samples) + 1)
        for axis, metric, factor in zip(axes, ("accuracy", "loss"), (100.0, 1.0), strict=True):
            axis.plot(
                numbers, [factor * getattr(s, metric) for s in self.samples], "o", color=COLOURS[1], label="sample"
            )
            levels = {"original": self.original, "original with noise of the samples' size": self.noisy}
            for (label, level), colour, style in zip(levels.items(), COLOURS[2:4], ("-", "--"), strict=True):
                axis.axhline(factor * getattr(level, metric), color=colour, linestyle=style, label=label)
            axis.set(xlabel="sample", ylabel="test accuracy (%)" if metric == "accuracy" else "test loss (nats)")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend(fontsize=8)
        return figure

    def _pair(self, found: Evaluation) -> torch.Tensor:
        return torch.stack([self.original.predictions, found.predictions])


def distribution_figure(experiment: Experiment, original: Original, samples: Weights) -> Figure:
    """Histograms of each layer's weights: a random initialisation, the original, and the first sample."""
    random = Weights.of(experiment.new_classifier(derive_seed(experiment.config.seed, "unseen init")))
    return histograms_figure(weight_histograms({"random": random, "original": original.weights, "sample": samples[0]}))


def performance(found: Evaluation) -> str:
    return f"accuracy = {found.accuracy:.2%}, loss = {found.loss:.4f}"


def _figures(found: Evaluation) -> dict[str, float]:
    return {"accuracy": found.accuracy, "loss": found.loss}


def _noisy(experiment: Experiment, original: Original, size: torch.Tensor) -> Weights:
    """The original with Gaussian noise of this norm added to the tensors that are generated."""
    own = original.vectors()
    rng = torch.Generator().manual_seed(derive_seed(experiment.config.seed, "noise"))
    noise = torch.randn(own.shape, generator=rng)
    return original.completed(own + noise * (size / noise.norm()))
