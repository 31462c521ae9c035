"""The literal registries: name -> import string. Looking a name up imports nothing; `load_entry` does."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from weightsmith.errors import BadInput

CODECS = {
    "flat": "weightsmith.codecs.flat:FlatCodec",
    "span": "weightsmith.codecs.span:make_span",
    "pca": "weightsmith.codecs.pca:PcaCodec",
    "unit": "weightsmith.codecs.unit:UnitCodec",
    "autoencoder": "weightsmith.codecs.autoencoder:AutoencoderCodec",
}
GENERATORS = {
    "transition": "weightsmith.generators.transition:make_transition",
    "diffusion": "weightsmith.generators.diffusion:make_diffusion",
}
# Those that know no tokens: they write the weights of any architecture themselves.
WEIGHT_GENERATORS = {
    "universal": "weightsmith.generators.universal:make_universal",
}
# What a run with this generator is: along one training trajectory, over a population of trained networks, or over
# architectures drawn at random, for which nothing need be trained before.
EXPERIMENTS = {
    "transition": "trajectory",
    "diffusion": "population",
    "universal": "universal",
}
DENOISERS = {
    "simple": "weightsmith.denoisers.mlp:SimpleWeightDiffusion",
    "mlp": "weightsmith.denoisers.mlp:ResidualMLP",
    "transformer": "weightsmith.denoisers.transformer:TokenTransformer",
}
DATASETS = {
    "mnist": "weightsmith.datasets.mnist:mnist",
    "digits": "weightsmith.datasets.digits:digits",
    "mnist-rotated": "weightsmith.datasets.mnist:mnist_rotated",
    "mnist-inverted": "weightsmith.datasets.mnist:mnist_inverted",
    "mnist-relabelled": "weightsmith.datasets.mnist:mnist_relabelled",
}
DIFFUSION_PATHS = {
    "vp-linear": "weightsmith.diffusion.variance_preserving:VariancePreserving.linear",
    "vp-cosine": "weightsmith.diffusion.variance_preserving:VariancePreserving.cosine",
    "flow": "weightsmith.diffusion.linear_flow:LinearFlow",
}
SAMPLERS = {
    "ddpm": "weightsmith.diffusion.samplers.ddpm:DDPM",
    "ddim": "weightsmith.diffusion.samplers.ddim:DDIM",
    "dpm-solver": "weightsmith.diffusion.samplers.dpm_solver:DPMSolver2M",
    "euler": "weightsmith.diffusion.samplers.euler:Euler",
    "heun": "weightsmith.diffusion.samplers.heun:Heun",
    "flow-sde": "weightsmith.diffusion.samplers.flow_sde:FlowSDE",
}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `name`, or None where none is alike."""
    folded = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower()[:100], folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def load_entry(entry: str) -> Any:
    """Import `pkg.module:attribute` and return the attribute; raises `BadInput` naming the part that is missing.

    Runs the module's code: call it with registry entries and with what this user typed, never with what a file says.
    """
    module_name, _, attribute = entry.partition(":")
    if not module_name or not attribute:
        raise BadInput(f"{entry!r} is not module:attribute", "write it as package.module:callable")
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise BadInput(
            f"cannot import {module_name!r} of {entry!r}: {error}",
            "check the spelling, and that the module is installed or PYTHONPATH holds its folder",
        ) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = nearest(part, [name for name in dir(value) if not name.startswith("_")])
            hint = f"did you mean {near!r}?" if near else "check the spelling"
            raise BadInput(f"{module_name!r} has no {part!r} (from {entry!r})", hint)
        value = getattr(value, part)
    return value
