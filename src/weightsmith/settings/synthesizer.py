"""What the `config.json` of a saved synthesizer must hold; its hash says that it is whole, not that it makes sense."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "weightsmith.synthesizer/1"


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PartConfig(_Closed):
    """A codec or generator by its registered name."""

    name: str
    options: dict[str, Any]


class ArchitectureConfig(_Closed):
    """The network that weights are generated for; a `module:callable` here is a label and is never imported."""

    name: str
    options: dict[str, Any]
    input_shape: list[int]
    classes: int


class SynthesizerConfig(_Closed):
    """Everything beside the tensors."""

    schema_: Literal["weightsmith.synthesizer/1"] = Field(alias="schema")
    weightsmith: str
    architecture: ArchitectureConfig
    layout: list[Any]
    layout_fingerprint: str
    codec: PartConfig
    generator: PartConfig
    dim: int = Field(ge=1)
    model_sha256: str
    provenance: dict[str, Any]
