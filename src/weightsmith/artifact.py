"""Artifacts: what is saved as a folder of `config.json`, `model.safetensors` and a card, and read without executing it.

Every byte of the first two is hashed; the card is for people, and nothing reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import replacing_folder
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.tensorfile import read_tensors, write_tensors

CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"
# What a folder of each kind is called, and what is done with it: so that one taken for another is told what it is.
_KINDS = {
    "weightsmith.synthesizer": ("a synthesizer of one architecture", "`weightsmith sample`, Synthesizer.load"),
    "weightsmith.universal": ("a universal synthesizer", "`weightsmith synthesize`, UniversalSynthesizer.load"),
}


def require_new_folder(folder: Path) -> None:
    """Raise `BadInput` for a folder that exists."""
    if folder.exists():
        raise BadInput(f"{folder} exists", "choose another folder, or delete it first")


def write_artifact(
    folder: Path, tensors: Mapping[str, Tensor], config: Callable[[str], Mapping[str, Any]], card: str
) -> None:
    """Write a folder, all or nothing. `config` is told the SHA-256 of the file of tensors."""
    with replacing_folder(folder) as temporary:
        digest = write_tensors(temporary / MODEL, tensors)
        write_sealed_json(temporary / CONFIG, dict(config(digest)))
        (temporary / CARD).write_text(card, encoding="utf-8")


def read_config(folder: Path, schema: str) -> dict[str, Any]:
    """The checked `config.json` of a folder of that schema. Raises `ArtifactError` for a damaged or another one."""
    what, use = _KINDS[_kind(schema)]
    if not (folder / CONFIG).is_file():
        raise ArtifactError(f"{folder} is not a synthesizer: no {CONFIG}", "give a folder made by `train`")
    config = read_sealed_json(folder / CONFIG)
    found = config.get("schema") if isinstance(config, dict) else None
    if found == schema:
        return config  # a dictionary, by its schema
    if isinstance(found, str) and _kind(found) in _KINDS and _kind(found) != _kind(schema):
        what_it_is, how = _KINDS[_kind(found)]
        raise ArtifactError(f"{folder} is {what_it_is}, not {what}", f"use {how}; for {what} it is {use}")
    raise ArtifactError(f"{folder} has schema {found!r}, not {schema!r}", "use the version that wrote it")


def _kind(schema: str) -> str:
    return schema.partition("/")[0]


def read_model(folder: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a folder, whose file must have that hash. Raises `ArtifactError`."""
    return read_tensors(folder / MODEL, sha256=sha256)[0]


@contextlib.contextmanager
def assembling(folder: Path) -> Iterator[None]:
    """Whatever cannot be put together of what a folder holds is an `ArtifactError` that names the folder."""
    try:
        yield
    except (BadInput, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ArtifactError) and str(folder) in error.message:
            raise  # a file of it, by its name
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{folder} does not hold what its config.json says: {reason}", "make it anew") from None


def facts(provenance: Mapping[str, Any]) -> str:
    """Where something comes from, as a list in its card."""
    return "\n".join(f"* {key}:{_told(value)}" for key, value in provenance.items())


def _told(value: Any) -> str:
    """A value in words; several of several parts each on a line of its own."""
    if isinstance(value, Mapping):
        said = {key: _told(part) for key, part in value.items() if part not in ({}, [], None)}
        return " " + ", ".join(f"{key}{f' ({text[1:]})' if ', ' in text else text}" for key, text in said.items())
    if isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        return "".join(f"\n  {i}.{_told(part)}" for i, part in enumerate(value, start=1))
    return f" {value:g}" if isinstance(value, float) else f" {value}"


def compacted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in bfloat16; vectors (means, scales, biases) are small, and keep their digits."""
    small = {name for name, value in tensors.items() if value.ndim <= 1 or value.dtype != torch.float32}
    return {name: value if name in small else value.to(torch.bfloat16) for name, value in tensors.items()}


def expanded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What was compacted in float32 again."""
    return {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in tensors.items()}
