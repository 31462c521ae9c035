"""Recipe: everything an experiment is made of, as frozen typed data with a sentence a field."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from weightsmith.settings.architectures import ARCHITECTURES
from weightsmith.settings.nodes import Scalar
from weightsmith.settings.options import validate_options
from weightsmith.settings.registry import CODECS, DATASETS, GENERATORS, nearest
from weightsmith.settings.scalars import (
    Integer,
    Number,
    Text,
    read_free,
    read_mapping,
    read_optional_integer,
    read_text,
    refuse,
)

Count = Annotated[Integer, Field(ge=1, le=2**31 - 1)]
CountOrZero = Annotated[Integer, Field(ge=0, le=2**31 - 1)]
Rate = Annotated[Number, Field(gt=0)]
Choice = BeforeValidator(read_text)
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Choice]
Precision = Annotated[Literal["auto", "bf16", "fp32"], Choice]
# Letters, digits, dot, dash and underscore, beginning with a letter or digit: never a way out of a folder.
FolderName = Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
FreeOptions = Annotated[dict[str, Any], BeforeValidator(read_mapping)]
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_dataset_path(name: str) -> bool:
    """Whether a data set's name is a path (a folder or a .npz file) and not a registered name."""
    return name.endswith(".npz") or name.startswith(("~", ".")) or "/" in name or "\\" in name


class Settings(BaseModel):
    """A section: strict, closed, frozen; given as nothing, all of its defaults."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_nothing(cls, value: Any) -> Any:
        return read_mapping(value)


class NamedSettings(Settings):
    """A section with a name; the bare name stands for it."""

    registered: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_name(cls, value: Any) -> Any:
        bare = isinstance(value, str) or (isinstance(value, Scalar) and not value.is_nothing)
        return {"name": value} if bare else value

    @field_validator("name", check_fields=False)
    @classmethod
    def _know_name(cls, name: str) -> str:
        if name not in cls.registered and not cls._is_own(name):
            near = nearest(name, cls.registered)
            hint = f"the nearest is {near!r}" if near else ""
            refuse(f"{' or '.join(filter(None, [', '.join(cls.registered), cls._own_form()]))}", hint)
        return name

    @classmethod
    def _is_own(cls, name: str) -> bool:
        return False

    @classmethod
    def _own_form(cls) -> str:
        return ""


class OptionedSettings(NamedSettings):
    """A named section whose options are checked by the model of that name."""

    @field_validator("options", check_fields=False)
    @classmethod
    def _check_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("name")
        return validate_options(cls.kind, name, options) if name in cls.registered else read_free(options)


class DatasetSettings(NamedSettings):
    """What the networks learn."""

    registered = tuple(DATASETS)
    name: Text = Field(
        default="mnist",
        description="A registered data set, or the path of a folder of images by class or of a .npz file.",
    )
    validation: Count = Field(
        default=5000,
        description="Images cut from the training images, by seed, for selection; at most a quarter is taken.",
    )
    image_size: Annotated[Annotated[int, Field(ge=4, le=1024)] | None, BeforeValidator(read_optional_integer)] = Field(
        default=None, description="Height and width in pixels to which images are resized; null keeps them."
    )

    @classmethod
    def _is_own(cls, name: str) -> bool:
        return is_dataset_path(name)

    @classmethod
    def _own_form(cls) -> str:
        return "a path (a folder in this one is ./NAME)"


class ArchitectureSettings(OptionedSettings):
    """The network whose weights are generated."""

    registered = tuple(ARCHITECTURES)
    kind = "architecture"
    name: Text = Field(default="target_cnn", description="A registered architecture, or module:callable.")
    options: FreeOptions = Field(default={}, description="Its options, or the keyword arguments of module:callable.")

    @classmethod
    def _is_own(cls, name: str) -> bool:
        return _CALLABLE.fullmatch(name) is not None

    @classmethod
    def _own_form(cls) -> str:
        return "module:callable"


class ZooSettings(Settings):
    """The population of networks that is trained."""

    runs: Count = Field(default=3, description="Independently initialised training runs.")
    epochs: Count = Field(
        default=5, description="Passes over the training images in each run; each gives a checkpoint."
    )
    batch_size: Count = Field(default=128, description="Images in a training step.")
    optimizer: Annotated[Literal["adam", "sgd"], Choice] = Field(
        default="adam", description="What trains the networks."
    )
    learning_rate: Rate = Field(default=1e-3, description="Step size of the optimizer.")
    precision: Precision = Field(default="auto", description="Arithmetic of training; auto chooses for the machine.")
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
    codec: CodecSettings = Field(default=CodecSettings(), description="How weights become tokens and tokens weights.")
    generator: GeneratorSettings = Field(default=GeneratorSettings(), description="The model that generates tokens.")
    training: TrainingSettings = Field(default=TrainingSettings(), description="How the generator is trained.")
    evaluation: EvaluationSettings = Field(
        default=EvaluationSettings(), description="How generated networks are measured."
    )


def section(name: str) -> type[Settings] | None:
    """The model of a section of `Recipe`, or None for a single value or an unknown name."""
    found = Recipe.model_fields[name].annotation if name in Recipe.model_fields else None
    return found if isinstance(found, type) and issubclass(found, Settings) else None
