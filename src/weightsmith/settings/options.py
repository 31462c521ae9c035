"""The options of each registered codec, generator and architecture: one small typed model a name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from weightsmith.settings.scalars import Integer, Truth, read_text

Width = Annotated[Integer, Field(ge=1, le=2**24)]


class Options(BaseModel):
    """Strict, closed and frozen: an unknown key or another type is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TargetCnnOptions(Options):
    """Two 3x3 convolutions, each with ReLU and 2x2 max pooling, then two linear layers."""

    channels1: Width = Field(default=32, description="Output channels of the first convolution.")
    channels2: Width = Field(default=64, description="Output channels of the second convolution.")
    hidden: Width = Field(default=128, description="Units of the hidden linear layer.")


class MlpOptions(Options):
    """Linear layers with an activation between them."""

    hidden: list[Width] = Field(default=[32, 32], description="Units of each hidden layer, first to last.")
    activation: Annotated[Literal["relu", "gelu", "tanh", "silu"], BeforeValidator(read_text)] = Field(
        default="relu", description="The function after each hidden layer."
    )


class FlatOptions(Options):
    """The whole network as one vector."""

    standardise: Truth = Field(
        default=True, description="Whether each tensor is shifted to mean zero and scaled to deviation one."
    )


class SpanOptions(Options):
    """Coordinates in the span of the training checkpoints; there is nothing to choose."""


class TransitionOptions(Options):
    """The network of the transition model."""

    time_embedding: Width = Field(default=128, description="Features in which the step is embedded.")
    hidden: Width = Field(default=512, description="Units of each hidden layer.")
    layers: Annotated[Integer, Field(ge=1, le=64)] = Field(default=2, description="Number of hidden layers.")


OPTIONS: dict[str, dict[str, type[Options]]] = {
    "architecture": {"target_cnn": TargetCnnOptions, "mlp": MlpOptions},
    "codec": {"flat": FlatOptions, "span": SpanOptions},
    "generator": {"transition": TransitionOptions},
}


def validate_options(kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """`options` of the registered `name`, checked and with every default filled in; raises pydantic's error."""
    return OPTIONS[kind][name].model_validate(options).model_dump()
