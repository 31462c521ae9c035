"""What the scripts share: options, files, the original network, and how an error becomes an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from config import Config, read_config
from torch import Tensor, nn

from weightsmith import Layout, Weights, WeightsmithError, load_dataset, read_checkpoint
from weightsmith.codecs import make_codec
from weightsmith.datasets.record import Dataset
from weightsmith.ensemble import choose_device
from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.interfaces import Codec
from weightsmith.tokens import Tokens

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds what lies beside it by itself, and the folder models/ by this
WEIGHTS = "weights"  # the one tensor in extracted_weights.pth


@dataclass(frozen=True)
class Experiment:
    """The settings, and what follows from them: data set, files, networks."""

    config: Config
    config_path: Path
    device: torch.device

    @classmethod
    def from_command_line(cls, description: str | None) -> Experiment:
        """Read options and settings; an option stands in place of a setting. Prints the device."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--config", type=Path, default=ROOT / "configs" / "mnist_config.yaml", help="the settings")
        parser.add_argument("--dataset", help="in place of mnist.dataset, the same in every script; as digits")
        parser.add_argument("--seed", type=int, help="in place of seed, the same in every script")
        parser.add_argument("--device", help="in place of device: auto, cpu, cuda or mps")
        asked = parser.parse_args()
        config = read_config(asked.config)
        dataset, seed = asked.dataset or config.mnist.dataset, config.seed if asked.seed is None else asked.seed
        mnist = config.mnist.model_copy(update={"dataset": dataset})
        device = choose_device(asked.device or config.device)
        print(f"Using device: {device}")
        return cls(config.model_copy(update={"mnist": mnist, "seed": seed}), asked.config, device)

    def path(self, name: str) -> Path:
        """A path of the section `paths`; relative ones begin at the example's folder."""
        return ROOT / Path(getattr(self.config.paths, name)).expanduser()

    @cached_property
    def dataset(self) -> Dataset:
        """The data set; one training image is held out, the least that weightsmith allows."""
        os.environ.setdefault("WEIGHTSMITH_DATA_DIR", str(self.path("data")))
        return load_dataset(self.config.mnist.dataset, validation=1)

    def new_classifier(self, seed: int) -> nn.Module:
        """The network of the settings with the initial weights that `seed` gives."""
        from models.mnist_classifier import CLASSIFIERS

        settings = self.config.mnist
        options = getattr(settings, settings.model).model_dump()
        return CLASSIFIERS[settings.model](self.dataset.input_shape, self.dataset.classes, **options, seed=seed)

    def original(self) -> Original:
        """The trained classifier. Raises `BadInput` when it is missing, damaged, or of another form than set."""
        path, network = self.path("classifier"), self.new_classifier(0)
        state = self.read(path, "train_mnist.py")
        try:
            return Original(network, Layout.of(network).flatten([state]))
        except LayoutMismatch as error:
            raise LayoutMismatch(f"{path}: {error.message}", again("train_mnist.py")) from None

    def extracted(self, original: Original) -> Tensor:
        """The extracted vector `[1, latent_dim]`. Raises `BadInput` where it is not of this classifier."""
        path, latent_dim = self.path("extracted_weights"), self.config.weight_diffusion.latent_dim
        vector = self.read(path, "extract_weights.py").get(WEIGHTS)
        if vector is None or vector.ndim != 1:
            raise ArtifactError(f"{path} holds no vector {WEIGHTS!r}", again("extract_weights.py"))
        if latent_dim != len(vector):
            problem = (
                f"weight_diffusion.latent_dim is {latent_dim} in {self.config_path}, and {path} holds {len(vector)}"
            )
            raise BadInput(f"{problem} numbers", f"{again('extract_weights.py')}: it writes that line")
        if not torch.equal(vector[None], original.vectors()):
            raise BadInput(f"{path} is not of {self.path('classifier')}", again("extract_weights.py"))
        return vector[None]

    def read(self, path: Path, made_by: str) -> dict[str, Tensor]:
        """The tensors in a file that the script `made_by` writes. Raises `BadInput` when it is missing or damaged."""
        if not path.exists():
            raise BadInput(f"{path} does not exist", f"run python scripts/{made_by} first")
        try:
            return read_checkpoint(path)
        except ArtifactError as error:
            raise ArtifactError(error.message, again(made_by)) from None


@dataclass(frozen=True)
class Original:
    """The trained classifier: its form, and its weights (a batch of one)."""

    network: nn.Module
    weights: Weights

    @cached_property
    def codec(self) -> Codec:
        """Vectors of the tensors named 'weight'; networks are completed by the trained classifier's own biases."""
        codec = make_codec("flat", {"standardise": False, "roles": ["weight"]})
        codec.fit(self.weights)
        return codec

    def vectors(self) -> Tensor:
        """The weights as one flat vector, `[1, latent_dim]`."""
        return self.codec.encode(self.weights).vectors()

    def completed(self, vectors: Tensor) -> Weights:
        """Networks of these weights `[network, latent_dim]` and the trained classifier's biases."""
        return self.codec.decode(Tokens.single(vectors), self.weights.layout)


def again(script: str) -> str:
    return f"run python scripts/{script} again"


def run(script: Callable[[], None]) -> None:
    """Run a script; on an error print what, and what to do, on stderr, and exit with the error's status."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that lines appear in a pipe too
    try:
        script()
    except WeightsmithError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted; run the script again", file=sys.stderr)
        sys.exit(130)
