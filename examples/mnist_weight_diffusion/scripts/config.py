"""The settings of the example: `configs/mnist_config.yaml` as typed data, and the one line of it that is rewritten."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from weightsmith.errors import BadInput
from weightsmith.files import write_bytes
from weightsmith.settings.nodes import Mapping, Problem, plain, read_yaml
from weightsmith.settings.options import MlpOptions, TargetCnnOptions
from weightsmith.settings.problems import problems_of, recipe_error
from weightsmith.settings.registry import nearest
from weightsmith.settings.scalars import Integer, Text
from weightsmith.settings.sections import Choice, Count, CountOrZero, Device, Optimizer, Optional, Rate, Settings

MAX_BYTES = 1_000_000


class MnistSettings(Settings):
    """The classifier and its training."""

    dataset: Text
    model: Annotated[Literal["cnn", "mlp"], Choice]
    cnn: TargetCnnOptions
    mlp: MlpOptions
    epochs: Count
    batch_size: Count
    learning_rate: Rate
    optimizer: Optimizer


class DiffusionSettings(Settings):
    """The diffusion model and its training; `latent_dim` is nothing until weights were extracted."""

    latent_dim: Annotated[Count | None, Optional]
    timesteps: Annotated[Integer, Field(ge=1, le=100_000)]
    noise_schedule: Annotated[Literal["linear", "cosine"], Choice]
    time_embedding: Annotated[Integer, Field(ge=1, le=2**16)]
    hidden: Annotated[Integer, Field(ge=1, le=2**16)]
    layers: Annotated[Integer, Field(ge=1, le=64)]
    repeats: Count
    epochs: Count
    batch_size: Count
    learning_rate: Rate


class GenerationSettings(Settings):
    """How many networks are generated."""

    samples: Annotated[Integer, Field(ge=1, le=10_000)]


class PathSettings(Settings):
    """Where everything lies, relative to the example's folder or absolute."""

    data: Text
    classifier: Text
    extracted_weights: Text
    diffusion_model: Text
    generated_weights: Text
    evaluation_results: Text


class Config(Settings):
    """The whole file; every key must stand in it."""

    seed: CountOrZero
    device: Device
    mnist: MnistSettings
    weight_diffusion: DiffusionSettings
    generation: GenerationSettings
    paths: PathSettings


def read_config(path: Path) -> Config:
    """The settings in `path`. Raises `BadInput` listing every mistake, each with its key and its line."""
    node, problems = read_yaml(_read(path))
    if not isinstance(node, Mapping):
        raise recipe_error(str(path), problems or [Problem((), 1, "not a mapping of keys to values")])
    try:
        config = Config.model_validate(plain(node))
    except ValidationError as error:
        unknown = {details["loc"] for details in error.errors() if details["type"] == "extra_forbidden"}
        found = problems_of(error, node)
        named = [replace(problem, text=_unknown(problem)) if problem.path in unknown else problem for problem in found]
        raise recipe_error(str(path), problems + named) from None
    if problems:
        raise recipe_error(str(path), problems)
    return config


def update_latent_dim(path: Path, latent_dim: int) -> bool:
    """Write `weight_diffusion.latent_dim` into the file, comments kept; whether it stood otherwise there."""
    if read_config(path).weight_diffusion.latent_dim == latent_dim:
        return False
    yaml = YAML(typ="rt")  # keeps comments and order, and constructs nothing but plain values
    yaml.preserve_quotes, yaml.width = True, 4096
    document = yaml.load(_read(path))
    document["weight_diffusion"]["latent_dim"] = latent_dim
    text = io.StringIO()
    yaml.dump(document, text)
    write_bytes(path, text.getvalue().encode())
    return True


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput(f"{path} is larger than {MAX_BYTES} bytes", "give a page of YAML")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}", "restore it, or name another file by --config") from None


def _unknown(problem: Problem) -> str:
    """What to say of a key that does not exist: the nearest that does, where one is alike."""
    model = Config
    for part in problem.path[:-1]:
        model = get_type_hints(model)[str(part)]
    near = nearest(str(problem.path[-1]), model.model_fields)
    return f"unknown key; the nearest is {near!r}" if near else f"unknown key; known: {', '.join(model.model_fields)}"
