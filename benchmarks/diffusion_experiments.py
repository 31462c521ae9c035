"""What `benchmarks.diffusion` runs: its zoos, and every experiment as changes to the shipped recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE = "mnist-weight-diffusion"
MLP = "architecture={name: mlp, options: {hidden: [32, 32]}}"
CNN = "architecture=target_cnn"
EPOCH = 50  # updates

ZOOS: Mapping[str, Sequence[str]] = {
    "single": (MLP, "seed=1", "zoo.runs=1", "zoo.epochs=5"),
    "mlp": (MLP, "seed=4", "zoo.runs=500", "zoo.epochs=5", "zoo.weight_decay=1e-3"),
    "cnn": (CNN, "seed=5", "zoo.runs=48", "zoo.epochs=4"),
    "progress": (
        *(MLP, "seed=6", "zoo.runs=12", "zoo.epochs=6", "zoo.capture_steps=40"),
        "vary.learning_rate={low: 5e-5, high: 2e-3, scale: log}",  # slow ones show low accuracies closely
    ),
}


@dataclass(frozen=True)
class Experiment:
    """Changes to the recipe of the base, on the networks of one of the `ZOOS`."""

    zoo: str
    codec: str
    generator: str
    changes: Sequence[str]
    samplers: Mapping[str, int] = field(default_factory=dict)

    def overrides(self, name: str, zoo: str, dataset: str) -> list[str]:
        return [
            CNN if self.zoo == "cnn" else MLP,
            f"name={name}",
            f"zoo.folder={zoo}",
            f"dataset={dataset}",
            f"codec={self.codec}",
            f"generator={self.generator}",
            f"evaluation.samplers={_mapping(self.samplers)}",
            *self.changes,
        ]


def _mapping(values: Mapping[str, Any]) -> str:
    """As YAML in one line."""
    return "{" + ", ".join(f"{key}: {_said(value)}" for key, value in values.items()) + "}"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return _mapping(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(name: str, **options: Any) -> str:
    return _mapping({"name": name, "options": options})


def _training(updates: int, batch_size: int = 256, **more: Any) -> tuple[str, ...]:
    """So many updates, in epochs of `EPOCH`, in bfloat16 products."""
    settings = {
        "budgets": _mapping({"trained": updates // EPOCH}),
        "updates": EPOCH,
        "batch_size": batch_size,
        "learning_rate": 1e-3,
        "warmup": 100,
        "average": 0.995,
        "precision": "bf16",
        **more,
    }
    return tuple(f"training.{name}={value}" for name, value in settings.items())


POPULATION = ("population.train=400", "population.validation=0", "population.held_out=0.2", "evaluation.samples=256")
# All coordinates of many networks are told from noise at times above 0.8: taught and walked through at leisure.
NEAR_NOISE = {"times": "logit-normal", "times_location": 0.8, "times_scale": 1.2, "shift": 8}
FLOW = {"path": "flow", "prediction": "velocity", "sampler": "euler", "steps": 20}
COSINE = {"path": "vp-cosine", "prediction": "v", "sampler": "ddim", "steps": 50}
OF_FLOW = {"euler": 50, "heun": 25, "flow-sde": 50}
OF_COSINE = {"ddim": 20, "ddpm": 200, "dpm-solver": 20}
PCA = _named("pca", canonical=True)
# The recipe mnist-weight-population.
STOCHASTIC = {**FLOW, **NEAR_NOISE, "sampler": "flow-sde", "steps": 200}
MEMORY = _named("diffusion", **STOCHASTIC, denoiser="mlp", blocks=1, memory=4096)

_UNIT = _named("unit", canonical=True, width=None, standardise="position")
_SINGLE = ("population.validation=0", "population.held_out=0", "evaluation.samples=16")
_STOPPED = ("population.train=400", "population.validation=0.1", "population.held_out=0.1", "evaluation.samples=256")
_ASKED = (
    "population.validation=0",
    "population.held_out=0.1",
    "population.checkpoints=all",
    "evaluation.wanted=200",
    "evaluation.wanted_from=0.6",
    "evaluation.wanted_to=0.96",
)
_FEW = ("evaluation.samples=64",)


def _single(path: Mapping[str, Any], samplers: Mapping[str, int]) -> Experiment:
    return Experiment(
        "single",
        _named("flat", canonical=True),
        _named("diffusion", **path, denoiser="mlp", width=256, blocks=2),
        (*_training(400, 32, average=0.98, precision="fp32"), *_SINGLE),
        samplers,
    )


EXPERIMENTS: Mapping[str, Experiment] = {
    "single": _single(FLOW, OF_FLOW),
    "single-cosine": _single(COSINE, OF_COSINE),
    "mlp": Experiment("mlp", PCA, MEMORY, (*_training(12000, average=0.999), *POPULATION), OF_FLOW),
    "mlp-early": Experiment(  # stopped by validation runs
        "mlp",
        PCA,
        MEMORY,
        (*_training(1500, validate_every=1), *_STOPPED),
    ),
    "mlp-perceptron": Experiment(  # without the memory
        "mlp", PCA, _named("diffusion", **FLOW, **NEAR_NOISE, denoiser="mlp", blocks=2), (*_training(3000), *POPULATION)
    ),
    "mlp-cosine": Experiment(
        "mlp",
        PCA,
        _named("diffusion", **COSINE, denoiser="mlp", blocks=1, memory=4096),
        (*_training(2000), *POPULATION),
        OF_COSINE,
    ),
    "mlp-autoencoder": Experiment(
        "mlp",
        _named("autoencoder", canonical=True, width=None, latent=64),
        _named("diffusion", **FLOW, denoiser="mlp"),
        (*_training(1000, 128), *POPULATION),
    ),
    "mlp-span": Experiment(
        "mlp",
        _named("span", canonical=True),
        _named("diffusion", **FLOW, denoiser="mlp"),
        (*_training(1000), *POPULATION),
    ),
    "shipped": Experiment(  # what `benchmarks.pretrained` makes compact
        "mlp",
        PCA,
        _named("diffusion", **STOCHASTIC, denoiser="mlp", width=192, blocks=1, memory=512),
        (*_training(4000), "population.train=64", "evaluation.samples=256"),
    ),
    "given": Experiment(  # in one step from pure noise: what is to be expected, given the rest
        "mlp",
        _UNIT,
        _named(
            "diffusion",
            **{**FLOW, "steps": 1},
            **{"times": "logit-normal", "times_location": 4, "denoiser": "transformer", "width": 128, "given": True},
        ),
        (*_training(2000, 32), *POPULATION, "evaluation.given=50"),
    ),
    "unit": Experiment(  # the same tokens, walked from noise to networks
        "mlp",
        _UNIT,
        _named("diffusion", **FLOW, denoiser="transformer", width=128, given=True),
        (*_training(2000, 32), *POPULATION, "evaluation.given=50"),
    ),
    "cnn": Experiment(
        "cnn",
        PCA,
        _named("diffusion", **FLOW, denoiser="mlp", width=256, blocks=1, memory=256),
        (*_training(3000), *_FEW),
        OF_FLOW,
    ),
    "calibration": Experiment(
        "progress",
        _named("pca", components=128),
        _named(
            "diffusion",
            **{**FLOW, **NEAR_NOISE, "steps": 40},
            **{"denoiser": "mlp", "blocks": 2, "memory": 4096, "conditions": "[accuracy]"},
        ),
        (*_training(4000, average=0.999), *_FEW, *_ASKED),
    ),
}

# How trained synthesizers are timed, by network: the first as its experiment samples by itself, then in fewer steps.
RATES: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "mlp": (
        ("mlp", {"n": 64}),
        ("mlp", {"n": 256, "sampler": "euler", "steps": 10}),
        ("shipped", {"n": 256}),
        ("shipped", {"n": 1024, "sampler": "euler", "steps": 20}),
        ("shipped", {"n": 1024, "sampler": "euler", "steps": 10}),
    ),
    "cnn": (("cnn", {"n": 64}), ("cnn", {"n": 64, "sampler": "euler", "steps": 5})),
}
