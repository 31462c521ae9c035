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
from weightsmith.generators.universal import StartedGenerator, UniversalGenerator
from weightsmith.hypernetworks import Hypernetwork, HypernetworkSizes
from weightsmith.hypernetworks.started import StartedHypernetwork
from weightsmith.pretrained import WRITING, synthesizer_folder
from weightsmith.settings.universal import SCHEMA, UniversalConfig
from weightsmith.universal.coverage import Coverage
from weightsmith.universal.reading import Reading, require_name
from weightsmith.universal.starting import Start, checked_seed, count_of
from weightsmith.universal.synthesis import Synthesis
from weightsmith.universal.writing import write_networks

NETWORKS = 8  # where no number is asked for


@dataclass(frozen=True)
class UniversalSynthesizer:
    """Writes weights for any module: `UniversalSynthesizer.load("mnist-universal").synthesize(module)`.

    `covers`: the data set, and the range of architectures, that it was trained on; `provenance`: any JSON mapping.
    """

    generator: UniversalGenerator | StartedGenerator
    covers: Coverage
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def synthesize(
        self,
        module: nn.Module,
        n: int | None = None,
        seed: int = 0,
        *,
        dataset: str | None = None,
        strict: bool = False,
        recalibrate: bool = True,
        check: bool = True,
        input_shape: Sequence[int] | None = None,
        start: Start | None = None,
    ) -> Synthesis:
        """`n` different networks (8, or one a start) for a module of logits, left as it was: `read`, then `write`.

        Raises what these raise.
        """
        seed = checked_seed(seed)
        self._require(n, start)
        reading = self.read(module, dataset=dataset, strict=strict, input_shape=input_shape)
        return self.write(reading, n, seed, recalibrate=recalibrate, check=check, start=start)

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
        require_name(dataset)
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
                "leave strict out to have what is understood generated, and the rest initialised in the standard way; "
                "weightsmith graph draws what was understood",
            )
        return reading

    def write(
        self,
        reading: Reading,
        n: int | None = None,
        seed: int = 0,
        *,
        recalibrate: bool = True,
        check: bool = True,
        start: Start | None = None,
    ) -> Synthesis:
        """`n` networks (8, or one a start) for what was read; number i follows from `seed` and i alone, bitwise.

        `start`: for a synthesizer that begins at given weights, a state dict of the module or a list of them, one a
        network; without it, each begins at a standard initialisation of its own. Running statistics are measured on
        training images where there are any and the data set can be had; where it cannot, a warning of the record says
        so. `check`: run the networks on the first 1,000 training images, where they are at hand, and warn of those that
        do badly. Raises `BadInput` for `n` below one, a seed below 0, and a start that is not of this module, not
        finite, or of no use here.
        """
        count = self._require(n, start)
        with torch.device("cpu"):
            return write_networks(
                self.generator, self.covers, reading, count, checked_seed(seed), recalibrate, check, start
            )

    @property
    def begins_at_weights(self) -> bool:
        """Whether it writes from given weights, not from noise."""
        return isinstance(self.generator, StartedGenerator)

    def require_reads_starts(self, given: bool = True) -> None:
        """Raise `BadInput` where a start is `given` to a synthesizer that writes from noise."""
        if given and not self.begins_at_weights:
            raise BadInput(
                "this synthesizer writes from noise and reads no start",
                "leave the start out, or give a synthesizer that was trained to begin at given weights",
            )

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
        folder = synthesizer_folder(folder, WRITING)
        document = read_config(folder, SCHEMA)
        with assembling(folder):
            config = UniversalConfig.model_validate(document)
            tensors = expanded(read_model(folder, config.model_sha256))
            sizes = HypernetworkSizes(**config.generator.options.model_dump())
            if sizes.dim % sizes.heads:
                raise ValueError(f"codes of {sizes.dim} numbers for {sizes.heads} heads")
            with torch.device("meta"):  # nothing is allocated until the tensors in the file are seen to fit
                generator = _empty(config.generator.name, sizes)
            generator.network.load_state_dict(tensors, assign=True)
            covers = Coverage.from_json(config.covers.model_dump())
        generator.network.eval()
        return cls(generator, covers, config.provenance)

    def _require(self, n: int | None, start: Start | None) -> int:
        self.require_reads_starts(start is not None)
        return count_of(n, start, NETWORKS)

    def _config(self, digest: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "weightsmith": weightsmith.__version__,
            "generator": {"name": self.generator.name, "options": asdict(self.generator.network.sizes)},
            "covers": self.covers.to_json(),
            "model_sha256": digest,
            "provenance": dict(self.provenance),
        }

    def _card(self) -> str:
        extent, shape = self.covers.extent, "x".join(map(str, self.covers.input_shape))
        begun = _BEGUN if self.begins_at_weights else ""
        return f"""# A weightsmith universal synthesizer

Reads the graph of a network for images {shape} of {self.covers.dataset} ({self.covers.classes} classes), and writes
weights for it: any `torch.nn.Module`, without training it.

    import weightsmith as ws
    weights = ws.synthesize(MyOwnNet(), synthesizer="this folder", n=8, seed=0)
{begun}
Trained on architectures of {extent.units} hidden units ({extent.channels or "no"} channels of a convolution,
{extent.features or "no"} units of a linear layer), {extent.depth} layers with weights in a row, and
{extent.parameters} parameters, made of {", ".join(sorted(extent.operations))}, with
{", ".join(sorted(extent.activations)) or "no activation"}. What lies beyond is written too, and a warning names it.

{facts(self.provenance)}

This card is for people; nothing reads it.
"""


_BEGUN = """
It begins at given weights, by default at a standard initialisation, on which the network that it writes depends:

    model = MyOwnNet()
    ws.initialize(model, synthesizer="this folder")                                    # from the weights it has
    weights = ws.synthesize(model, synthesizer="this folder", start=[state, another])  # from these
"""


def _empty(name: str, sizes: HypernetworkSizes) -> UniversalGenerator | StartedGenerator:
    if name == StartedGenerator.name:
        return StartedGenerator(StartedHypernetwork(sizes))
    return UniversalGenerator(Hypernetwork(sizes))
