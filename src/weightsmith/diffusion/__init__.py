"""Diffusion: paths between data and noise, what a network predicts on them, and the samplers that walk back.

Pure maths on tensors `[batch, ...]`. One convention of time everywhere: `t` in [0, 1], 0 is data, 1 is noise.
"""

from weightsmith.diffusion.clamping import Clamp
from weightsmith.diffusion.guidance import ClassifierFreeGuidance, combine_guidance
from weightsmith.diffusion.linear_flow import LinearFlow
from weightsmith.diffusion.path import Coefficients, Path, PathSample, make_path
from weightsmith.diffusion.predictions import Denoised, Prediction, convert, denoised, output_of
from weightsmith.diffusion.samplers import make_sampler
from weightsmith.diffusion.samplers.sampler import Sampler
from weightsmith.diffusion.sampling import Samples, sample
from weightsmith.diffusion.step import Step, take_step
from weightsmith.diffusion.times import UNIFORM, TrainingTimes
from weightsmith.diffusion.transition import Transition, log_prob, log_ratio
from weightsmith.diffusion.variance_preserving import VariancePreserving

__all__ = [
    "UNIFORM",
    "Clamp",
    "ClassifierFreeGuidance",
    "Coefficients",
    "Denoised",
    "LinearFlow",
    "Path",
    "PathSample",
    "Prediction",
    "Sampler",
    "Samples",
    "Step",
    "TrainingTimes",
    "Transition",
    "VariancePreserving",
    "combine_guidance",
    "convert",
    "denoised",
    "log_prob",
    "log_ratio",
    "make_path",
    "make_sampler",
    "output_of",
    "sample",
    "take_step",
]
