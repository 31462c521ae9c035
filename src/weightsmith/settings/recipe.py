"""Recipe: everything an experiment is made of, as frozen typed data with a sentence a field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from weightsmith.errors import BadInput
from weightsmith.settings.registry import CODECS, GENERATORS, nearest
from weightsmith.settings.scalars import Integer, Text, Truth, read_mapping, refuse
from weightsmith.settings.sections import (
    ArchitectureSettings,
    Choice,
    Count,
    CountOrZero,
    DatasetSettings,
    Decay,
    Device,
    FolderName,
    FreeOptions,
    Momentum,
    Optimizer,
    OptionedSettings,
    Precision,
    Rate,
    Settings,
)
from weightsmith.settings.vary import VarySettings


class ZooSettings(Settings):
    """The population of networks that is trained."""

    runs: Count = Field(default=3, description="Independently initialised training runs.")
    epochs: Count = Field(default=5, description="Passes over the training images in each run.")
    capture_steps: CountOrZero = Field(
        default=0,
        description="Optimizer steps between checkpoints, besides those at the ends of epochs; a checkpoint's step "
        "then counts optimizer steps. 0 keeps those at the ends of epochs alone, and counts epochs.",
    )
    batch_size: Count = Field(default=128, description="Images in a training step.")
    optimizer: Optimizer = Field(default="adam", description="What trains the networks.")
    learning_rate: Rate = Field(default=1e-3, description="Step size of the optimizer.")
    weight_decay: Decay = Field(default=0.0, description="L2 penalty that the optimizer adds to the gradient.")
    momentum: Momentum = Field(default=0.9, description="Momentum of sgd; adam has its own.")
    shared_batches: Truth = Field(
        default=False,
        description="Whether all runs see the same batches, which is faster; else each its own.",
    )
    precision: Precision = Field(default="auto", description="Arithmetic of training; auto chooses for the machine.")
    method: Annotated[Literal["auto", "loop", "stacked", "vmap"], Choice] = Field(
        default="auto",
        description="How networks are trained at once: one by one (loop), multilayer perceptrons as stacked matrix "
        "products (stacked), any by vmap; auto measures. What a method cannot compute is trained one by one.",
    )
    group_size: CountOrZero = Field(
        default=0, description="Networks that one worker trains at once, for methods other than loop; 0 measures."
    )
    workers: CountOrZero = Field(default=0, description="Processes that train at once; 0 chooses for the machine.")
    threads: CountOrZero = Field(default=0, description="Threads of each worker; 0 chooses for the machine.")


class CodecSettings(OptionedSettings):
    """How weights become tokens and tokens weights."""

    registered = tuple(CODECS)
    kind = "codec"
    name: Text = Field(default="span", description="A registered codec.")
    options: FreeOptions = Field(default={}, description="Options of that codec.")


class GeneratorSettings(OptionedSettings):
    """The model that generates tokens."""

    registered = tuple(GENERATORS)
    kind = "generator"
    name: Text = Field(default="transition", description="A registered generator.")
    options: FreeOptions = Field(default={}, description="Options of that generator.")


class TrainingSettings(Settings):
    """How the generator is trained."""

    budgets: Annotated[dict[FolderName, CountOrZero], BeforeValidator(read_mapping), Field(min_length=1)] = Field(
        default={"untrained": 0, "note": 50, "converged": 500},
        description="Named lengths of training, in epochs over the training pairs; a model is made for each.",
    )
    headline: Text = Field(default="note", description="The budget whose model the headline numbers are of.")
    batch_size: Count = Field(default=4, description="Training pairs in a step.")
    learning_rate: Rate = Field(default=1e-4, description="Step size of the optimizer.")
    optimizer: Annotated[Literal["adam"], Choice] = Field(default="adam", description="What trains the generator.")

    @field_validator("headline")
    @classmethod
    def _headline_is_a_budget(cls, headline: str, info: ValidationInfo) -> str:
        budgets = info.data.get("budgets")
        if budgets is not None and headline not in budgets:
            near = nearest(headline, budgets)
            refuse(f"a key of training.budgets ({', '.join(budgets)})", f"the nearest is {near!r}" if near else "")
        return headline


class EvaluationSettings(Settings):
    """How generated networks are made and measured."""

    inits: Annotated[Integer, Field(ge=2, le=10**6)] = Field(
        default=5, description="Unseen initial networks to start from."
    )
    steps: Count = Field(default=6, description="Steps the generator takes from each initial network.")
    batch_size: Count = Field(default=128, description="Images in an evaluation step.")
    precision: Precision = Field(default="auto", description="Arithmetic of evaluation; auto chooses for the machine.")


class Recipe(Settings):
    """One experiment, whole: what `weightsmith run` does follows from this and from nothing else."""

    name: FolderName = Field(description="Short name of the experiment, and of its folder.")
    description: Text = Field(description="One sentence saying what the experiment shows.")
    device: Device = Field(default="auto", description="Where to compute; auto uses a GPU when there is one.")
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = Field(default=0, description="All random choices follow from it.")
    dataset: DatasetSettings = Field(default=DatasetSettings(), description="What the networks learn.")
    architecture: ArchitectureSettings = Field(default=ArchitectureSettings(), description="The networks.")
    zoo: ZooSettings = Field(default=ZooSettings(), description="The population of networks that is trained.")
    vary: VarySettings = Field(default=VarySettings(), description="What differs from run to run.")
    codec: CodecSettings = Field(default=CodecSettings(), description="How weights become tokens and tokens weights.")
    generator: GeneratorSettings = Field(default=GeneratorSettings(), description="The model that generates tokens.")
    training: TrainingSettings = Field(default=TrainingSettings(), description="How the generator is trained.")
    evaluation: EvaluationSettings = Field(
        default=EvaluationSettings(), description="How generated networks are measured."
    )

    @model_validator(mode="after")
    def _varied_options_fit(self) -> Recipe:
        self.vary.check_options(self.architecture)
        return self


def section(name: str) -> type[Settings] | None:
    """The model of a section of `Recipe`, or None for a single value or an unknown name."""
    found = Recipe.model_fields[name].annotation if name in Recipe.model_fields else None
    return found if isinstance(found, type) and issubclass(found, Settings) else None


def require_one_form(recipe: Recipe) -> None:
    """Raise `BadInput` for a recipe whose zoo is of several forms or data sets, which generators cannot learn from."""
    mixed = [name for name in ("dataset", "architecture", "options") if name in recipe.vary.named]
    if mixed:
        raise BadInput(
            f"recipe {recipe.name!r} varies {', '.join(mixed)}, and generators are trained on one architecture and "
            "data set",
            "build its zoo with `weightsmith zoo build`, or give a recipe that does not vary them",
        )
