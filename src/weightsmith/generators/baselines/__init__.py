"""Baselines: generators that learn nothing, or next to nothing, and stand in every table."""

from weightsmith.generators.baselines.best_of import BestOf
from weightsmith.generators.baselines.blends import PairBlend
from weightsmith.generators.baselines.fixed import FixedGenerator, copy_of, extrapolation_of, mean_of
from weightsmith.generators.baselines.gaussians import CoordinateGaussian, PcaGaussian
from weightsmith.generators.baselines.noise import NoisedCheckpoints, noise_sweep
from weightsmith.generators.baselines.retrieval import Retrieval

__all__ = [
    "BestOf",
    "CoordinateGaussian",
    "FixedGenerator",
    "NoisedCheckpoints",
    "PairBlend",
    "PcaGaussian",
    "Retrieval",
    "copy_of",
    "extrapolation_of",
    "mean_of",
    "noise_sweep",
]
