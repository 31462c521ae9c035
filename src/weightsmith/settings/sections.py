"""Sections: what every part of a recipe is made of, and the two that name what the networks learn and are."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from weightsmith.settings.architectures import ARCHITECTURES
from weightsmith.settings.nodes import Scalar
from weightsmith.settings.options import validate_options
from weightsmith.settings.registry import DATASETS, nearest
from weightsmith.settings.scalars import (
    Integer,
    Number,
    Text,
    read_free,
    read_mapping,
    read_optional,
    read_text,
    refuse,
)

Count = Annotated[Integer, Field(ge=1, le=2**31 - 1)]
CountOrZero = Annotated[Integer, Field(ge=0, le=2**31 - 1)]
Rate = Annotated[Number, Field(gt=0)]
Decay = Annotated[Number, Field(ge=0)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Share = Annotated[Number, Field(ge=0, le=0.5)]
Choice = BeforeValidator(read_text)
Optional = BeforeValidator(read_optional)
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Choice]
Precision = Annotated[Literal["auto", "bf16", "fp32"], Choice]
Optimizer = Annotated[Literal["adam", "sgd"], Choice]
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
    image_size: Annotated[Annotated[Integer, Field(ge=4, le=1024)] | None, Optional] = Field(
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
