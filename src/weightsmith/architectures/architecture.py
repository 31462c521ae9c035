"""The frozen, serialisable recipe of a network: a registered name or `module:callable`, its options, input, classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.hashed import fingerprint
from weightsmith.layout import Layout
from weightsmith.settings.architectures import ARCHITECTURES
from weightsmith.settings.registry import load_entry, nearest


@dataclass(frozen=True)
class Architecture:
    """Same recipe and seed, bit-identical weights.

    `name` is registered, or `module:callable` whose keyword arguments are `options`. Such a callable is run only where
    the user typed it: an `Architecture` that came out of a file has `typed_by_user` false and refuses to build.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    typed_by_user: bool = field(default=True, compare=False)

    @property
    def is_registered(self) -> bool:
        return ":" not in self.name

    def build(self, seed: int) -> nn.Module:
        """The network with the initial weights that `seed` gives. Raises `BadInput` for an unknown or untyped name."""
        builder = self._builder()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                module = builder()
            except TypeError as error:
                raise BadInput(
                    f"architecture {self.name!r} refuses options {dict(self.options)}: {error}",
                    "give the options that it takes, and name what is called to make a network",
                ) from error
        if not isinstance(module, nn.Module):
            raise BadInput(f"{self.name} gave a {type(module).__name__}, not a torch.nn.Module", "return the module")
        return module

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.build(0))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    def to_json(self) -> dict[str, Any]:
        document = {"name": self.name, "options": dict(self.options)}
        return {**document, "input_shape": list(self.input_shape), "classes": self.classes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Architecture:
        """Read what `to_json` wrote into an artifact: a `module:callable` in it is a label, not code to run."""
        try:
            name, shape = document["name"], tuple(document["input_shape"])
            return cls(name, shape, document["classes"], dict(document["options"]), typed_by_user=False)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"not an architecture: {document!r} ({error})", "restore the file") from None

    def _builder(self) -> Any:
        if self.is_registered:
            if self.name not in ARCHITECTURES:
                remedy = f"nearest known: {nearest(self.name, ARCHITECTURES)}; or give module:callable"
                raise BadInput(f"unknown architecture {self.name!r}", remedy)
            build = load_entry(ARCHITECTURES[self.name])
            return lambda: build(self.input_shape, self.classes, **self.options)
        if not self.typed_by_user:
            raise BadInput(
                f"architecture {self.name!r} is named by a file, and a file may not choose which code is run",
                f"type the name yourself: --architecture {self.name}, or architecture={self.name!r} in Python",
            )
        if str(Path.cwd()) not in sys.path:  # what a user means by module:callable is often a file beside them
            sys.path.append(str(Path.cwd()))
        callable_ = load_entry(self.name)
        return lambda: callable_(**self.options)
