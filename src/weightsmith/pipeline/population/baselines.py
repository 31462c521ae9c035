"""The baselines of a population: what can be had from its training networks without learning a generator."""

from __future__ import annotations

import torch

from weightsmith.generators.baselines import (
    BestOf,
    CoordinateGaussian,
    PairBlend,
    PcaGaussian,
    Retrieval,
    noise_sweep,
)
from weightsmith.interfaces import Generator
from weightsmith.pipeline.population.audit import Audit
from weightsmith.tokens import Tokens

NOISES = (0.03, 0.1, 0.3)
TRIES = 4


def population_baselines(audit: Audit) -> dict[str, Generator]:
    """Generators by name, on the codec's tokens of the last network of every training run.

    Where something is chosen, it is by accuracy on validation images.
    """
    rows = audit.member.finals["train"]
    tokens = audit.synthesizer.encode(audit.bench.zoo.read(rows))
    accuracies = torch.tensor([row.metrics.get("accuracy") or 0.0 for row in rows])
    gaussian = PcaGaussian(tokens)

    def score(samples: Tokens) -> torch.Tensor:
        return torch.tensor(audit.validation_accuracies(audit.decoded(samples)))

    return {
        **{f"training network + noise of {scale:g}": made for scale, made in noise_sweep(tokens, NOISES).items()},
        "average of two": PairBlend(tokens),
        "interpolation of two": PairBlend(tokens, None),
        "Gaussian of each number": CoordinateGaussian(tokens),
        "Gaussian of principal components": gaussian,
        f"best of {TRIES} of these": BestOf(gaussian, TRIES, score),
        "best training network": Retrieval(tokens, accuracies),
    }
