"""UniversalSynthesizer: a trained universal generator with what it covers and where it comes from, a folder of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import weightsmith
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
from weightsmith.errors import BadInput
from weightsmith.generators.universal import UniversalGenerator
from weightsmith.hypernetworks import Hypernetwork, HypernetworkSizes
from weightsmith.pretrained import synthesizer_folder
from weightsmith.settings.universal import SCHEMA, UniversalConfig
from weightsmith.universal.coverage import Coverage
from weightsmith.universal.reading import Reading
from weightsmith.universal.synthesis import Synthesis
from weightsmith.universal.writing import write_networks


@dataclass(frozen=True)
class UniversalSynthesizer:
    """Writes weights for any module: `UniversalSynthesizer.load("mnist-universal").synthesize(module)`.

    `covers`: the data set, and the range of architectures, that it was trained on; `provenance`: any JSON mapping.
    """

    generator: UniversalGenerator
    covers: Coverage
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def synthesize(
        self,
        module: nn.Module,
        n: int = 8,
        seed: int = 0,
        *,
        dataset: str | None = None,
        strict: bool = False,
        recalibrate: bool = True,
        input_shape: Sequence[int] | None = None,
    ) -> Synthesis:
        """`n` different networks for a module of logits, which is left as it was: `read`, then `write`.

        Raises what these raise.
        """
        require_count(n)
        reading = self.read(module, dataset=dataset, strict=strict, input_shape=input_shape)
        return self.write(reading, n, seed, recalibrate=recalibrate)

    def read(
        self,
        module: nn.Module,
        *,
        dataset: str | None = None,
        strict: bool = False,
        input_shape: Sequence[int] | None = None,
    ) -> Reading:
        """Trace a module, which reads images `[batch, *input_shape]` (without it, as they are in the data set).

        Raises `BadInput` for a data set that this was not trained for, and for a module that does not fit it or
        cannot be traced; with `strict` also for operations and tensors that are not understood or beyond its range.
        """
        if dataset is not None and dataset != self.covers.dataset:
            raise BadInput(
                f"this synthesizer was trained for data set {self.covers.dataset!r}, not {dataset!r}",
                f"ask for {self.covers.dataset}, or for a synthesizer that was trained for {dataset}",
            )
        with torch.device("cpu"):  # whatever the user's default is
            reading = Reading.of(module, self.covers, input_shape)
        if strict and reading.problems:
            raise BadInput(
                f"{reading.name} is not what this synthesizer was trained for: {'; '.join(reading.problems)}",
                "leave strict out to have what is understood generated, and the rest initialised in the standard way",
            )
        return reading

    def write(self, reading: Reading, n: int, seed: int = 0, *, recalibrate: bool = True) -> Synthesis:
        """`n` networks for what was read; number i follows from `seed` and i alone, bitwise.

        Running statistics are measured on training images where there are any and the data set can be had; where it
        cannot, a warning of the record says so. Raises `BadInput` for `n` below one.
        """
        require_count(n)
        with torch.device("cpu"):
            return write_networks(self.generator, self.covers, reading, n, seed, recalibrate)

    def with_provenance(self, provenance: Mapping[str, Any]) -> UniversalSynthesizer:
        """The same generator with a statement of where it comes from (any JSON mapping)."""
        return replace(self, provenance=provenance)

    def save(self, folder: Path, compact: bool = True) -> None:
        """Write `config.json`, `model.safetensors` and a card, all or nothing; refuses a folder that exists.

        `compact`: matrices are rounded to bfloat16, half the bytes, and float32 again when loaded.
        """
        folder = Path(folder)
        require_new_folder(folder)
        tensors = self.generator.network.state_dict()
        write_artifact(folder, compacted(tensors) if compact else tensors, self._config, self._card())

    @classmethod
    def load(cls, folder: str | Path) -> UniversalSynthesizer:
        """Read a saved one, or one that comes along by its name; every byte is checked, and nothing is executed.

        Raises `ArtifactError` for a damaged, foreign or newer folder, `BadInput` for a name that is none.
        """
        folder = synthesizer_folder(folder)
        document = read_config(folder, SCHEMA)
        with assembling(folder):
            config = UniversalConfig.model_validate(document)
            tensors = expanded(read_model(folder, config.model_sha256))
            sizes = HypernetworkSizes(**config.generator.options.model_dump())
            if sizes.dim % sizes.heads:
                raise ValueError(f"codes of {sizes.dim} numbers for {sizes.heads} heads")
            with torch.device("meta"):  # nothing is allocated until the tensors in the file are seen to fit
                network = Hypernetwork(sizes)
            network.load_state_dict(tensors, assign=True)
            covers = Coverage.from_json(config.covers.model_dump())
        return cls(UniversalGenerator(network.eval()), covers, config.provenance)

    def _config(self, digest: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "weightsmith": weightsmith.__version__,
            "generator": {"name": "universal", "options": asdict(self.generator.network.sizes)},
            "covers": self.covers.to_json(),
            "model_sha256": digest,
            "provenance": dict(self.provenance),
        }

    def _card(self) -> str:
        extent, shape = self.covers.extent, "x".join(map(str, self.covers.input_shape))
        return f"""# A weightsmith universal synthesizer

Reads the graph of a network for images {shape} of {self.covers.dataset} ({self.covers.classes} classes), and writes
weights for it: any `torch.nn.Module`, without training it.

    import weightsmith as ws
    weights = ws.synthesize(MyOwnNet(), synthesizer="this folder", n=8, seed=0)

Trained on architectures of {extent.units} hidden units, {extent.layer_units} of them in a layer, {extent.depth} layers
with weights in a row, and {extent.parameters} parameters, made of {", ".join(sorted(extent.operations))}, with
{", ".join(sorted(extent.activations)) or "no activation"}. What lies beyond is written too, and a warning names it.

{facts(self.provenance)}

This card is for people; nothing reads it.
"""


def require_count(n: int) -> None:
    """Raise `BadInput` for fewer than one network."""
    if n < 1:
        raise BadInput(f"{n} networks are asked for", "ask for one or more")
