"""Synthesizer: a fitted codec and a trained generator with where they come from, saved as a folder without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import weightsmith
from weightsmith.architectures import Architecture
from weightsmith.codecs import make_codec
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.files import replacing_folder
from weightsmith.generators import make_generator
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.interfaces import Codec, Condition, Generator
from weightsmith.layout import Layout, Weights
from weightsmith.seeds import derive_seed
from weightsmith.settings.options import OPTIONS, validate_options
from weightsmith.settings.registry import nearest
from weightsmith.settings.synthesizer import SCHEMA, SynthesizerConfig
from weightsmith.tensorfile import read_tensors, write_tensors


@dataclass(frozen=True)
class Part:
    """A registered name and its options: enough to make a codec or a generator anew."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Synthesizer:
    """What a user holds: `Synthesizer.load(path).sample(16)`. Covers exactly one layout, named by its fingerprint."""

    architecture: Architecture
    layout: Layout
    codec: Codec
    codec_part: Part
    generator: Generator
    generator_part: Part
    provenance: Mapping[str, Any]

    @classmethod
    def fit(cls, weights: Weights, architecture: Architecture, codec: Part, generator: Part, seed: int) -> Synthesizer:
        """A codec fitted on training networks and an untrained generator of its tokens."""
        fitted = make_codec(codec.name, codec.options)
        fitted.fit(weights)
        made = make_generator(generator.name, fitted.space(), generator.options, seed)
        return cls(architecture, weights.layout, fitted, codec, made, generator, {})

    @property
    def dim(self) -> int:
        """How many numbers stand for one network."""
        return int(self.codec.space().valid.sum())

    def trajectory(
        self, n: int, *, start: Weights | None = None, steps: int = 1, seed: int = 0, **condition: Any
    ) -> list[Weights]:
        """The decoded states of the sampler, the start first (as the codec represents it).

        Without `start`, a generator that needs one is given `n` fresh random inits of the architecture, drawn from
        `seed`. Raises `BadInput` for a condition that the generator does not understand.
        """
        if start is None and "start" in self.generator.understands:
            start = self.random_inits(n, seed)
        encoded = None if start is None else self.codec.encode(start)
        try:
            asked = Condition(start=encoded, **condition)
        except TypeError:
            known = ", ".join(sorted(self.generator.understands))
            raise BadInput(f"unknown condition in {sorted(condition)}", f"this generator understands {known}") from None
        rng = torch.Generator().manual_seed(derive_seed(seed, "sample"))
        states = self.generator.sample(n, asked, rng, steps=steps).states
        return [self.codec.decode(state, self.layout) for state in states]

    def sample(
        self, n: int, *, start: Weights | None = None, steps: int = 1, seed: int = 0, **condition: Any
    ) -> Weights:
        """`n` networks: the last states of `trajectory`."""
        return self.trajectory(n, start=start, steps=steps, seed=seed, **condition)[-1]

    def random_inits(self, n: int, seed: int) -> Weights:
        """`n` networks with the standard random initialisation, which no training run of a recipe uses."""
        return Weights.of(*[self.architecture.build(derive_seed(seed, "unseen init", i)) for i in range(n)])

    def with_provenance(self, provenance: Mapping[str, Any]) -> Synthesizer:
        """The same codec and generator with a statement of where they come from (any JSON mapping)."""
        return replace(self, provenance=provenance)

    def save(self, folder: Path) -> None:
        """Write `config.json`, `model.safetensors` and a card, all or nothing; refuses a folder that exists."""
        folder = Path(folder)
        if folder.exists():
            raise BadInput(f"{folder} exists", "choose another folder, or delete it first")
        tensors = {f"codec.{name}": value for name, value in self.codec.tensors().items()}
        tensors |= {f"generator.{name}": value for name, value in self.generator.network.state_dict().items()}
        with replacing_folder(folder) as temporary:
            digest = write_tensors(temporary / "model.safetensors", tensors)
            write_sealed_json(temporary / "config.json", self._config(digest))
            (temporary / "README.md").write_text(self._card(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, architecture: str | None = None) -> Synthesizer:
        """Read a saved synthesizer; every byte of both files is checked, and nothing from the folder is executed.

        Where it was made for a `module:callable`, that is run only if its name is given here too, as `architecture`.
        Raises `ArtifactError` for a damaged, foreign or newer folder, `BadInput` for another architecture.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ArtifactError(f"{folder} is not a synthesizer: no config.json", "give a folder made by `train`")
        config = read_sealed_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("schema") != SCHEMA:
            found = config.get("schema") if isinstance(config, dict) else None
            raise ArtifactError(f"{folder} has schema {found!r}, not {SCHEMA!r}", "use the version that wrote it")
        try:
            loaded = cls._assembled(folder, SynthesizerConfig.model_validate(config))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{folder} does not hold what its config.json says: {reason}", "make it anew") from None
        if architecture is None:
            return loaded
        if architecture != loaded.architecture.name:
            raise BadInput(f"{folder} was made for {loaded.architecture.name!r}, not {architecture!r}", "name that one")
        return replace(loaded, architecture=replace(loaded.architecture, typed_by_user=True))

    @classmethod
    def _assembled(cls, folder: Path, config: SynthesizerConfig) -> Synthesizer:
        parts = {"codec": config.codec, "generator": config.generator}
        codec_part, generator_part = (
            Part(part.name, _known_options(kind, part.name, part.options)) for kind, part in parts.items()
        )
        layout = Layout.from_json(config.layout)
        if layout.fingerprint != config.layout_fingerprint:
            raise ValueError("its layout does not have the fingerprint that it states")
        tensors, _ = read_tensors(folder / "model.safetensors", sha256=config.model_sha256)
        codec = make_codec(codec_part.name, codec_part.options)
        codec.restore(_under("codec.", tensors), layout)
        if int(codec.space().valid.sum()) != config.dim:
            raise ValueError(f"its codec does not make tokens of {config.dim} numbers")
        with torch.device("meta"):  # shapes first: nothing is allocated until the tensors in the file are seen to fit
            generator = make_generator(generator_part.name, codec.space(), generator_part.options, seed=0)
        generator.network.load_state_dict(_under("generator.", tensors), assign=True)
        architecture = Architecture.from_json(config.architecture.model_dump())
        return cls(architecture, layout, codec, codec_part, generator, generator_part, config.provenance)

    def _config(self, digest: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "weightsmith": weightsmith.__version__,
            "architecture": self.architecture.to_json(),
            "layout": self.layout.to_json(),
            "layout_fingerprint": self.layout.fingerprint,
            "codec": {"name": self.codec_part.name, "options": dict(self.codec_part.options)},
            "generator": {"name": self.generator_part.name, "options": dict(self.generator_part.options)},
            "dim": self.dim,
            "model_sha256": digest,
            "provenance": dict(self.provenance),
        }

    def _card(self) -> str:
        facts = "\n".join(f"* {key}: {value}" for key, value in self.provenance.items())
        return f"""# A weightsmith synthesizer

Generates weights for `{self.architecture.name}` ({self.layout.parameters:,} parameters) with the
`{self.generator_part.name}` generator on `{self.codec_part.name}` tokens: {self.dim} numbers a network,
exact {self.codec.exactness}.

    from weightsmith import Synthesizer
    weights = Synthesizer.load("this folder").sample(4, seed=0)

{facts}

This card is for people; nothing reads it.
"""


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _known_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a registered part, checked. Raises `BadInput` for an unknown name, `ValueError` for options."""
    if name not in OPTIONS[kind]:
        raise BadInput(f"unknown {kind} {name!r}", f"nearest known: {nearest(name, OPTIONS[kind])}")
    return validate_options(kind, name, dict(options))
