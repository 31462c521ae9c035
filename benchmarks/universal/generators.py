"""Whose weights are measured: a synthesizer's folder, that of a variant, or the bare state of a hypernetwork."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import universal_ablations
from benchmarks.universal.kept import Row
from weightsmith.errors import BadInput
from weightsmith.generators.tiled import make_tiled
from weightsmith.generators.universal import make_universal

SHIPPED = "mnist-universal"
PEAK = "peak_rss_mb"  # what a training says of its memory, MB


@dataclass(frozen=True)
class Source:
    """A generator with `weights(blueprint, rng)`, its name, a hash of its weights, and what its training said."""

    name: str
    generator: Any
    mark: str
    provenance: Mapping[str, Any]

    def training(self) -> Row:
        """What its training said of itself. Raises `BadInput` where it did not say how much memory it took."""
        if PEAK not in self.provenance:
            raise BadInput(
                f"the provenance of {self.name!r} does not hold {PEAK}",
                "give the folder of a synthesizer that a recipe trained: --synthesizer FOLDER",
            )
        return {"kind": "training", **self.told()}

    def told(self) -> Row:
        """Its name, and what its training said in a word or a number."""
        plain = {key: value for key, value in self.provenance.items() if isinstance(value, int | float | str)}
        return {"generator": self.name, **plain}

    def require_from_start(self) -> None:
        """Raises `BadInput` unless it can write weights from an initialisation."""
        if not hasattr(self.generator, "from_start"):
            raise BadInput(
                f"the generator {self.name!r} does not start from given weights",
                "give the folder of a start-conditioned synthesizer: --start FOLDER",
            )


def load_source(name: str, path: Path | None) -> Source:
    """Read a folder (the shipped one where none is given) or a file of `torch.save(network.state_dict())`.

    A folder is that of a synthesizer, or of a variant of `benchmarks.universal_ablations`.
    """
    if path is not None and path.is_file():
        generator = _bare(path)
        return Source(name, generator, _state_mark(generator), {})
    if path is not None and (path / universal_ablations.GENERATOR).is_file():
        generator, training = universal_ablations.load(path)
        return Source(name, generator, _state_mark(generator), training)
    synthesizer = _synthesizer(path)
    return Source(name, synthesizer.generator, _state_mark(synthesizer.generator), dict(synthesizer.provenance))


def _synthesizer(path: Path | None) -> Any:
    from weightsmith.universal import UniversalSynthesizer

    if path is not None and not path.is_dir():
        raise BadInput(f"there is no synthesizer at {str(path)!r}", "give the folder that a training has written")
    return UniversalSynthesizer.load(SHIPPED if path is None else path)


def _bare(path: Path) -> Any:
    """The generator, of those that write weights, whose network has these tensors at its usual sizes."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    for make in (make_universal, make_tiled):
        generator = make(0)
        shapes = {name: value.shape for name, value in generator.network.state_dict().items()}
        if shapes == {name: value.shape for name, value in state.items()}:
            generator.network.load_state_dict(state)
            generator.network.eval()
            return generator
    raise BadInput(f"{path} does not fit a hypernetwork of the usual sizes", "give the folder of a synthesizer")


def _state_mark(generator: Any) -> str:
    """What tells one generator's weights from another's."""
    digest = hashlib.sha256()
    for name, value in sorted(generator.network.state_dict().items()):
        digest.update(name.encode() + b"\0" + value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
