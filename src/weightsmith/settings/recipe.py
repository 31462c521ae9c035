"""Recipe: everything an experiment is made of, as frozen typed data with a sentence a field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from weightsmith.settings.registry import CODECS, GENERATORS, WEIGHT_GENERATORS, nearest
from weightsmith.settings.scalars import Integer, Number, Text, Truth, read_mapping, refuse
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
    Optional,
    OptionedSettings,
    Precision,
    Rate,
    Settings,
    Share,
)
from weightsmith.settings.universal_section import UniversalSettings
from weightsmith.settings.vary import VarySettings


class ZooSettings(Settings):
    """The population of networks that is trained."""

    folder: Annotated[Text | None, Optional] = Field(
        default=None, description="A zoo that exists, built or imported, to learn from; null trains one."
    )
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


class PopulationSettings(Settings):
    """Which networks of a zoo a generator over a population learns from; parts are cut by run, never by checkpoint."""

    checkpoints: Annotated[Literal["last", "all"], Choice] = Field(
        default="last", description="The last network of every run, or all but the initial ones."
    )
    train: CountOrZero = Field(
        default=0, description="Runs to learn from, of every data set; 0 takes what the other two leave."
    )
    validation: Share = Field(default=0.1, description="Share of the runs that training is stopped by.")
    held_out: Share = Field(default=0.1, description="Share of the runs that samples are compared with.")
    statistics: Annotated[Literal["generated", "recalibrated"], Choice] = Field(
        default="recalibrated",
        description="Running statistics of normalisation layers, where samples are measured: as they come out of the "
        "codec, or measured anew on training images.",
    )


class CodecSettings(OptionedSettings):
    """How weights become tokens and tokens weights."""

    registered = tuple(CODECS)
    kind = "codec"
    name: Text = Field(default="span", description="A registered codec.")
    options: FreeOptions = Field(default={}, description="Options of that codec.")


class GeneratorSettings(OptionedSettings):
    """The model that generates tokens, or weights themselves."""

    registered = (*GENERATORS, *WEIGHT_GENERATORS)
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
    batch_size: Count = Field(default=4, description="Examples (pairs, networks, images) in a step.")
    learning_rate: Rate = Field(default=1e-4, description="Step size of the optimizer.")
    optimizer: Annotated[Literal["adam", "adamw", "muon"], Choice] = Field(
        default="adam", description="What trains the generator; muon suits many small matrices."
    )
    weight_decay: Decay = Field(default=0.0, description="Decoupled weight decay of adamw.")
    schedule: Annotated[Literal["constant", "cosine"], Choice] = Field(
        default="constant", description="How the step size moves after the warm-up: not, or down a cosine."
    )
    warmup: CountOrZero = Field(default=0, description="Updates over which the step size rises from nothing.")
    clip: Decay = Field(default=0.0, description="Greatest norm of a gradient; longer ones are shortened. 0: any.")
    average: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Decay of the moving average of the weights that is validated and saved. 0: none."
    )
    updates: CountOrZero = Field(
        default=0, description="Updates that are called an epoch; 0 is one pass over the examples."
    )
    precision: Annotated[Literal["bf16", "fp32"], Choice] = Field(
        default="fp32", description="Arithmetic of the products; weights and moments are float32."
    )
    validate_every: CountOrZero = Field(
        default=0, description="Epochs between measurements on the validation runs; the best is saved. 0: none."
    )
    patience: CountOrZero = Field(
        default=0, description="Validations without improvement after which training ends. 0: never."
    )

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
        default=5, description="Unseen initial networks to start from, for generators that need a start."
    )
    samples: Annotated[Integer, Field(ge=2, le=10**6)] = Field(
        default=64, description="Networks to sample from a generator over a population; none is selected."
    )
    steps: Count = Field(default=6, description="Steps of the generator.")
    samplers: Annotated[dict[FolderName, CountOrZero], BeforeValidator(read_mapping)] = Field(
        default={}, description="More samplers to stand in the table, each with its number of steps."
    )
    wanted: CountOrZero = Field(
        default=0, description="Networks to ask for by accuracy, evenly over what the zoo holds. 0: none."
    )
    wanted_from: Annotated[Annotated[Number, Field(ge=0, le=1)] | None, Optional] = Field(
        default=None, description="The least accuracy to ask for; null for the least in the zoo."
    )
    wanted_to: Annotated[Annotated[Number, Field(ge=0, le=1)] | None, Optional] = Field(
        default=None, description="The greatest accuracy to ask for; null for the greatest in the zoo."
    )
    given: CountOrZero = Field(
        default=0, description="Held-out networks of which every layer is generated given the rest. 0: none."
    )
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
    population: PopulationSettings = Field(
        default=PopulationSettings(), description="Which networks of the zoo are learned, for generators over many."
    )
    codec: CodecSettings = Field(default=CodecSettings(), description="How weights become tokens and tokens weights.")
    generator: GeneratorSettings = Field(default=GeneratorSettings(), description="The model that generates tokens.")
    universal: UniversalSettings = Field(
        default=UniversalSettings(), description="What the generator universal learns from, in place of a zoo."
    )
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
