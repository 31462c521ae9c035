"""What every model of options is: strict, closed and frozen; and the fields that many of them have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from weightsmith.settings.scalars import Integer, read_optional

Width = Annotated[Integer, Field(ge=1, le=2**24)]
Optional = BeforeValidator(read_optional)


class Options(BaseModel):
    """Strict, closed and frozen: an unknown key or another type is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
