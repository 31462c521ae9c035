"""What differs from run to run of a zoo: choices and ranges, from which every run draws by its number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from weightsmith.seeds import derive_seed
from weightsmith.settings.scalars import Number, read_free, read_mapping, refuse
from weightsmith.settings.sections import (
    ArchitectureSettings,
    Choice,
    Count,
    DatasetSettings,
    Optimizer,
    Optional,
    Settings,
)

if TYPE_CHECKING:
    from weightsmith.settings.recipe import Recipe

T = TypeVar("T")
Choices = Annotated[Annotated[list[T], Field(min_length=1)] | None, Optional]
Scale = Annotated[Literal["linear", "log"], Choice]
_SEED_RANGE = 2**63


class Spread(Settings):
    """Values that a number may take: a list of them, or from `low` to `high`, evenly or evenly in the logarithm."""

    choices: Annotated[list[Number] | None, Optional] = Field(default=None, description="The values, each as likely.")
    low: Annotated[Number | None, Optional] = Field(default=None, description="The least value.")
    high: Annotated[Number | None, Optional] = Field(default=None, description="The greatest value.")
    scale: Scale = Field(default="linear", description="linear, or log: evenly in the logarithm.")

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Spread:
        _check_spread(self.choices, self.low, self.high, self.scale)
        return self

    @property
    def ends(self) -> Sequence[float]:
        """Values between which, or among which, all others lie."""
        return self.choices if self.choices is not None else [x for x in (self.low, self.high) if x is not None]

    def at(self, share: float) -> float:
        """The value at a share in [0, 1) of the spread."""
        if self.choices is not None:
            return self.choices[int(share * len(self.choices))]
        assert self.low is not None
        assert self.high is not None
        return _between(self.low, self.high, self.scale, share)


class VarySettings(Settings):
    """What differs from run to run; what is not named here is as in the other sections."""

    dataset: Choices[DatasetSettings] = Field(default=None, description="Data sets to draw from.")
    architecture: Choices[ArchitectureSettings] = Field(default=None, description="Architectures to draw from.")
    options: Annotated[dict[str, Any], BeforeValidator(read_mapping)] = Field(
        default={},
        description="Options of the architecture to draw, each a list of values or {low, high, scale}; whole ends give "
        "whole numbers.",
    )
    optimizer: Choices[Optimizer] = Field(default=None, description="Optimizers to draw from.")
    batch_size: Choices[Count] = Field(default=None, description="Batch sizes to draw from.")
    learning_rate: Annotated[Spread | None, Optional] = Field(
        default=None, description="Learning rates to draw: a list, or {low, high, scale: linear or log}."
    )
    weight_decay: Annotated[Spread | None, Optional] = Field(
        default=None, description="Weight decays to draw, as learning rates."
    )
    momentum: Annotated[Spread | None, Optional] = Field(
        default=None, description="Momenta of sgd to draw, as learning rates."
    )

    @field_validator("learning_rate", "weight_decay", "momentum")
    @classmethod
    def _ends_fit(cls, spread: Spread | None, info: ValidationInfo) -> Spread | None:
        least, most = {"learning_rate": (0.0, math.inf), "weight_decay": (0.0, math.inf), "momentum": (0.0, 1.0)}[
            str(info.field_name)
        ]
        for value in spread.ends if spread else ():
            if not least <= value < most or (info.field_name == "learning_rate" and value == 0):
                refuse(f"values that {info.field_name} may have", f"{value:g} is none")
        return spread

    @field_validator("options")
    @classmethod
    def _read_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        read: dict[str, Any] = read_free(options)
        for name, spread in read.items():
            problem = _option_problem(spread)
            if problem:
                raise _error_at((name,), problem, spread)
        return read

    def check_options(self, architecture: ArchitectureSettings) -> None:
        """Raise pydantic's error unless every value of `options` fits every architecture that may be drawn."""
        for form in self.architecture or [architecture]:
            for name, spread in self.options.items():
                ends = spread if isinstance(spread, list) else [spread["low"], spread["high"]]
                for value in ends:
                    try:
                        ArchitectureSettings(name=form.name, options={**form.options, name: value})
                    except ValidationError as error:
                        said = error.errors()[0]["msg"]
                        raise _error_at(
                            ("vary", "options", name), f"expected what {form.name} takes; {value!r}: {said}", spread
                        ) from None

    @property
    def named(self) -> list[str]:
        """The names of what is varied."""
        return [name for name in type(self).model_fields if getattr(self, name)]


@dataclass(frozen=True)
class RunSettings:
    """What one run of a zoo has drawn."""

    dataset: DatasetSettings
    architecture: ArchitectureSettings
    optimizer: str
    batch_size: int
    learning_rate: float
    weight_decay: float
    momentum: float


def settings_of_run(recipe: Recipe, run: int) -> RunSettings:
    """What run number `run` of a recipe's zoo is made with: drawn from the recipe's seed, the number and the name."""
    vary, zoo = recipe.vary, recipe.zoo

    def share(name: str) -> float:
        return derive_seed(recipe.seed, "vary", run, name) / _SEED_RANGE

    def one_of(name: str, otherwise: Any) -> Any:
        choices = getattr(vary, name)
        return choices[int(share(name) * len(choices))] if choices else otherwise

    def number(name: str) -> float:
        spread: Spread | None = getattr(vary, name)
        return spread.at(share(name)) if spread else getattr(zoo, name)

    architecture: ArchitectureSettings = one_of("architecture", recipe.architecture)
    drawn = {name: _drawn_option(spread, share(f"options.{name}")) for name, spread in vary.options.items()}
    if drawn:
        architecture = ArchitectureSettings(name=architecture.name, options={**architecture.options, **drawn})
    return RunSettings(
        one_of("dataset", recipe.dataset),
        architecture,
        one_of("optimizer", zoo.optimizer),
        one_of("batch_size", zoo.batch_size),
        *(number(name) for name in ("learning_rate", "weight_decay", "momentum")),
    )


def _drawn_option(spread: Any, share: float) -> Any:
    if isinstance(spread, list):
        return spread[int(share * len(spread))]
    low, high, scale = spread["low"], spread["high"], spread.get("scale", "linear")
    if isinstance(low, int) and isinstance(high, int):
        return min(high, math.floor(_between(low, high + 1, scale, share)))
    return _between(low, high, scale, share)


def _between(low: float, high: float, scale: str, share: float) -> float:
    if scale == "log":
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def _check_spread(choices: Any, low: Any, high: Any, scale: str) -> None:
    ends = low is not None or high is not None
    if (choices is None) == (not ends) or (choices is not None and not choices):
        refuse("a list of values, or low and high", "")
    if ends:
        if low is None or high is None or not low < high:
            refuse("low and high, low the smaller", "")
        if scale == "log" and low <= 0:
            refuse("low above 0 on a logarithmic scale", "")


def _option_problem(spread: Any) -> str | None:
    if isinstance(spread, list):
        return None if spread else "expected at least one value"
    if not isinstance(spread, dict) or not {"low", "high"} <= spread.keys() <= {"low", "high", "scale"}:
        return "expected a list of values, or a mapping of low, high and scale"
    low, high, scale = spread["low"], spread["high"], spread.get("scale", "linear")
    if scale not in ("linear", "log"):
        return "expected linear or log as scale"
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or (scale == "log" and low <= 0):
        return "expected numbers low and high, low the smaller, and above 0 for scale log"
    return None


def _error_at(place: tuple[str, ...], text: str, value: Any) -> ValidationError:
    problem = PydanticCustomError("recipe_value", "{text}", {"text": text})
    return ValidationError.from_exception_data("vary", [InitErrorDetails(type=problem, loc=place, input=value)])
