"""What the `config.json` of a saved universal synthesizer must hold: sizes of its generator, and what it covers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "weightsmith.universal/2"

Size = Annotated[int, Field(ge=1, le=2**16)]
Few = Annotated[int, Field(ge=1, le=256)]
Span = Annotated[list[Annotated[int, Field(ge=0, lt=2**48)]], Field(min_length=2, max_length=2)]
Names = list[str]


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HypernetworkConfig(_Closed):
    """The sizes of a hypernetwork; see `HypernetworkSizes`."""

    noise: Size
    dim: Size
    rank: Size
    depth: Few
    heads: Few
    context: int = Field(ge=0, le=256)
    group_share: float = Field(ge=0, le=1)
    attention: bool
    standardised: bool
    modulated: bool
    fixed_share: float = Field(ge=0, le=1)
    start_share: float = Field(ge=0, lt=1)


class GeneratorConfig(_Closed):
    """The generator by its name (`universal` writes from noise, `started` from given weights), and its sizes."""

    name: Literal["universal", "started"]
    options: HypernetworkConfig


class CoverageConfig(_Closed):
    """What it was trained on: see `Coverage`. A span is `[least, most]`."""

    dataset: str
    image_size: Annotated[int, Field(ge=1, le=2**16)] | None
    input_shape: Annotated[list[Size], Field(min_length=3, max_length=3)]
    classes: Size
    operations: Names
    alone: Names
    activations: Names
    channels: Span | None
    features: Span | None
    row_features: Span | None
    kernel: Span | None
    units: Span
    depth: Span
    parameters: Span


class UniversalConfig(_Closed):
    """Everything beside the tensors."""

    schema_: Literal["weightsmith.universal/2"] = Field(alias="schema")
    weightsmith: str
    generator: GeneratorConfig
    covers: CoverageConfig
    model_sha256: str
    provenance: dict[str, Any]
