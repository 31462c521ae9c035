"""The section `universal` of a recipe: the architectures that a universal synthesizer learns to write weights for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from weightsmith.settings.scalars import Number, Text, refuse
from weightsmith.settings.sections import Choice, Count, CountOrZero, Optional, Settings

SplitName = Annotated[Literal["training", "unseen_size", "beyond", "unseen_combination"], Choice]


class FamilySettings(Settings):
    """How often an architecture of each family is drawn; a family that is not named is not learned."""

    mlp: CountOrZero = Field(default=0, description="Multilayer perceptrons, some normalised.")
    cnn: CountOrZero = Field(default=0, description="Plain convolutional networks, pooled or strided, some grouped.")
    residual: CountOrZero = Field(default=0, description="Residual networks, some with bottlenecks or groups.")
    vit: CountOrZero = Field(default=0, description="Small vision transformers.")
    axial: CountOrZero = Field(default=0, description="Linear layers over the columns and the rows in turn.")
    hybrid: CountOrZero = Field(default=0, description="Convolutions, attention and perceptrons in any order.")
    tokens: CountOrZero = Field(default=0, description="Perceptrons over the tokens of patches, and attention.")
    medley: CountOrZero = Field(default=0, description="Layers in a row, each with operations of its own.")
    separable: CountOrZero = Field(default=0, description="Depthwise-separable networks.")
    mixer: CountOrZero = Field(default=0, description="MLP-mixers.")

    @model_validator(mode="after")
    def _name_one(self) -> FamilySettings:
        if not any(self.weights.values()):
            refuse(f"a family with a weight above 0: {', '.join(type(self).model_fields)}", "as {mlp: 1, cnn: 2}")
        return self

    @property
    def weights(self) -> dict[str, int]:
        """Family to weight, without those that are never drawn."""
        return {name: weight for name in type(self).model_fields if (weight := getattr(self, name))}


class UniversalSettings(Settings):
    """What a universal synthesizer learns from; how long and how fast stands in `training`."""

    objective: Annotated[Literal["task"], Choice] = Field(
        default="task", description="What is minimised; task: the loss of the written networks on training images."
    )
    families: FamilySettings = Field(
        default=FamilySettings(mlp=2, cnn=4, residual=4, vit=8, axial=1, hybrid=5, tokens=3, medley=10),
        description="How often an architecture of each family is drawn; what is not named is held out.",
    )
    splits: Annotated[list[SplitName], Field(min_length=1)] = Field(
        default=["training"],
        description="Which sizes and combinations of operations are learned, in turn; what is not named is left to "
        "be measured: unseen_size, beyond, unseen_combination.",
    )
    start: Annotated[Text | None, Optional] = Field(
        default=None,
        description="A universal synthesizer of the same sizes to go on from: a folder, or a shipped name.",
    )
    pool: Count = Field(default=800, description="Architectures to learn from; each is traced once.")
    architectures: Count = Field(default=6, description="Architectures in an update.")
    images: Count = Field(
        default=64, description="Images that a costly architecture sees in an update; cheap ones see up to all."
    )
    blur: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.0, description="How unsure of an architecture's sizes and surroundings it is left while it learns."
    )
    workers: CountOrZero = Field(
        default=0, description="Processes that share an update, which changes no bit; 0 is one a core, and 1 on a GPU."
    )
    evaluated: Count = Field(default=32, description="Architectures of each split that are measured at the end.")
    monitored: CountOrZero = Field(
        default=4, description="Architectures of each split whose validation accuracy is watched. 0: none."
    )
    monitor_every: Count = Field(default=10, description="Epochs from one such look to the next.")

    @field_validator("splits")
    @classmethod
    def _name_each_once(cls, splits: list[str]) -> list[str]:
        if len(set(splits)) < len(splits):
            refuse("each split once")
        return splits
