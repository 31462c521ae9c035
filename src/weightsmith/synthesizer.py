"""Synthesizer: a fitted codec and a trained generator with where they come from, saved as a folder without code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import weightsmith
from weightsmith.architectures import Architecture
from weightsmith.artifact import (
    assembling,
    compacted,
    expanded,
    facts,
    read_config,
    read_model,
    require_new_folder,
    write_artifact,
)
from weightsmith.codecs import CanonicalCodec, known_numbers, make_codec
from weightsmith.errors import BadInput
from weightsmith.generators import make_generator
from weightsmith.interfaces import Codec, Condition, Exactness, Generator, Given, Trajectory, said
from weightsmith.layout import Layout, Weights, layers_of
from weightsmith.seeds import derive_seed
from weightsmith.settings.options import OPTIONS, validate_options
from weightsmith.settings.registry import nearest
from weightsmith.settings.synthesizer import SCHEMA, SynthesizerConfig
from weightsmith.symmetry import Symmetry
from weightsmith.tokens import Tokens


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
        fitted = make_codec(
            codec.name, codec.options, _symmetry(architecture) if codec.options.get("canonical") else None
        )
        fitted.fit(weights)
        made = make_generator(generator.name, fitted.space(), generator.options, seed)
        return cls(architecture, weights.layout, fitted, codec, made, generator, {})

    @property
    def dim(self) -> int:
        """How many numbers stand for one network."""
        return int(self.codec.space().valid.sum())

    def trajectory(self, n: int, **wanted: Any) -> list[Weights]:
        """The decoded states of the sampler, from noise or the start (as the codec represents it); see `sample`."""
        return [self.codec.decode(state, self.layout) for state in self._run(n, keep="all", **wanted).states]

    def sample(self, n: int, **wanted: Any) -> Weights:
        """`n` networks.

        * `steps`, `sampler`, `guidance`: how; without them as the generator was made to.
        * `seed`: what inits and noise follow from.
        * `start`: networks to start from, `Weights` of n. Without, a generator that needs one is given fresh random
          inits of the architecture.
        * `accuracy`, `loss` (a number, or a tensor `[n]`), `dataset`, `architecture`: what is asked of the networks.
        * `given`: networks (one for all, or n) of which the layers or tensors named in `layers` are kept.

        Raises `BadInput` for a wish that the generator or the codec does not understand.
        """
        return self.codec.decode(self._run(n, keep="last", **wanted).final, self.layout)

    def _run(
        self,
        n: int,
        *,
        keep: Literal["last", "all"],
        start: Weights | None = None,
        given: Weights | None = None,
        layers: Sequence[str] = (),
        steps: int | None = None,
        seed: int = 0,
        sampler: str | None = None,
        guidance: float | None = None,
        **condition: Any,
    ) -> Trajectory:
        if start is None and "start" in self.generator.understands:
            start = self.random_inits(n, seed)
        encoded = None if start is None else self.encode(start)
        try:
            asked = Condition(start=encoded, given=self._given(given, layers), **condition)
        except TypeError:
            known = ", ".join(sorted(self.generator.understands)) or "no condition"
            raise BadInput(f"unknown condition in {sorted(condition)}", f"this generator understands {known}") from None
        how = {name: value for name, value in (("sampler", sampler), ("guidance", guidance)) if value is not None}
        rng = torch.Generator().manual_seed(derive_seed(seed, "sample"))
        return self.generator.sample(n, asked, rng, steps=steps, keep=keep, **how)

    def _given(self, networks: Weights | None, layers: Sequence[str]) -> Given | None:
        """Layers or tensors of networks as what is known. Raises `BadInput` for a name that is none."""
        if networks is None and not layers:
            return None
        if networks is None or not layers:
            missing, has = ("networks", "layers") if networks is None else ("names of layers", "networks")
            raise BadInput(f"{has} are given without {missing}", "give both, or neither")
        names = [name for layer in layers for name in self._tensors_of(layer)]
        return Given(self.encode(networks), known_numbers(self.codec, self.layout, names))

    def encode(self, networks: Weights) -> Tokens:
        """Tokens of networks. A loaded codec that makes them canonical learns the symmetries only now: decoding, which
        is all that most samples need, does without, and may be of an architecture that cannot be built here."""
        if isinstance(self.codec, CanonicalCodec):
            self._learn_symmetry(self.codec)
        return self.codec.encode(networks)

    def _learn_symmetry(self, codec: CanonicalCodec) -> None:
        codec.symmetry = codec.symmetry or _symmetry(self.architecture)

    def _tensors_of(self, layer: str) -> list[str]:
        """A tensor by its name, or all of a layer."""
        names = [spec.name for spec in self.layout.tensors]
        found = [name for name in names if name == layer or name.startswith(f"{layer}.")]
        if not found:
            raise BadInput(f"there is no layer or tensor {layer!r}", f"choose from {', '.join(layers_of(self.layout))}")
        return found

    def canonical(self, networks: Weights) -> Weights:
        """Networks as its codec sees them: balanced and aligned where it makes them canonical, else as they are."""
        if not isinstance(self.codec, CanonicalCodec):
            return networks
        self._learn_symmetry(self.codec)
        return self.codec.canonical(networks)

    def random_inits(self, n: int, seed: int) -> Weights:
        """`n` networks with the standard random initialisation, which no training run of a recipe uses."""
        return Weights.of(*[self.architecture.build(derive_seed(seed, "unseen init", i)) for i in range(n)])

    def with_provenance(self, provenance: Mapping[str, Any]) -> Synthesizer:
        """The same codec and generator with a statement of where they come from (any JSON mapping)."""
        return replace(self, provenance=provenance)

    def save(self, folder: Path, compact: bool = False) -> None:
        """Write `config.json`, `model.safetensors` and a card, all or nothing; refuses a folder that exists.

        `compact`: matrices are rounded to bfloat16, half the bytes, and float32 again when loaded.
        """
        folder = Path(folder)
        require_new_folder(folder)
        codec, network = self.codec.tensors(), self.generator.network.state_dict()
        if compact:
            codec, network = compacted(codec), compacted(network)
        written = make_codec(self.codec_part.name, self.codec_part.options)
        written.restore(codec, self.layout)  # what was rounded may be less exact
        tensors = {f"codec.{name}": value for name, value in codec.items()}
        tensors |= {f"generator.{name}": value for name, value in network.items()}
        write_artifact(folder, tensors, self._config, self._card(written.exactness))

    @classmethod
    def load(cls, folder: Path, architecture: str | None = None) -> Synthesizer:
        """Read a saved synthesizer; every byte of both files is checked, and nothing from the folder is executed.

        Where it was made for a `module:callable`, that is run only if its name is given here too, as `architecture`.
        Raises `ArtifactError` for a damaged, foreign or newer folder, `BadInput` for another architecture.
        """
        folder = Path(folder)
        config = read_config(folder, SCHEMA)
        with assembling(folder):
            loaded = cls._assembled(folder, SynthesizerConfig.model_validate(config))
        if architecture is None:
            return loaded
        if architecture != loaded.architecture.name:
            raise BadInput(f"{folder} was made for {loaded.architecture.name!r}, not {architecture!r}", "name that one")
        return replace(loaded, architecture=replace(loaded.architecture, typed_by_user=True))

    @staticmethod
    def provenance_in(folder: Path) -> Mapping[str, Any]:
        """What a saved synthesizer states of where it comes from, without its tensors. Raises as `load` does."""
        stated = read_config(Path(folder), SCHEMA).get("provenance")
        return stated if isinstance(stated, dict) else {}

    @classmethod
    def _assembled(cls, folder: Path, config: SynthesizerConfig) -> Synthesizer:
        parts = {"codec": config.codec, "generator": config.generator}
        codec_part, generator_part = (
            Part(part.name, _known_options(kind, part.name, part.options)) for kind, part in parts.items()
        )
        layout = Layout.from_json(config.layout)
        if layout.fingerprint != config.layout_fingerprint:
            raise ValueError("its layout does not have the fingerprint that it states")
        tensors = read_model(folder, config.model_sha256)
        codec = make_codec(codec_part.name, codec_part.options)
        codec.restore(_under("codec.", tensors), layout)
        space = codec.space()
        if int(space.valid.sum()) != config.dim:
            raise ValueError(f"its codec does not make tokens of {config.dim} numbers")
        with torch.device("meta"):  # shapes first: nothing is allocated until the tensors in the file are seen to fit
            generator = make_generator(generator_part.name, space, generator_part.options, seed=0)
        generator.network.load_state_dict(expanded(_under("generator.", tensors)), assign=True)
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

    def _card(self, exactness: Exactness) -> str:
        return f"""# A weightsmith synthesizer

Generates weights for `{self.architecture.name}` ({self.layout.parameters:,} parameters) with the
`{self.generator_part.name}` generator on `{self.codec_part.name}` tokens: {self.dim} numbers a network,
{said(exactness)}.

    from weightsmith import Synthesizer
    weights = Synthesizer.load("this folder").sample(4, seed=0)

{facts(self.provenance)}

This card is for people; nothing reads it.
"""


def _symmetry(architecture: Architecture) -> Symmetry | None:
    return Symmetry.of(architecture.build(0), architecture.input_shape)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _known_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a registered part, checked. Raises `BadInput` for an unknown name, `ValueError` for options."""
    if name not in OPTIONS[kind]:
        raise BadInput(f"unknown {kind} {name!r}", f"nearest known: {nearest(name, OPTIONS[kind])}")
    return validate_options(kind, name, dict(options))
