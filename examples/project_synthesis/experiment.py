"""What the scripts share: their options, their files, and how an error becomes a message and an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from weightsmith import WeightsmithError, load_dataset, read_checkpoint
from weightsmith.datasets.record import Dataset
from weightsmith.errors import BadInput

CHECKPOINTS = Path("checkpoints_weights_cnn")


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", default="mnist", help="name or path of the data set, the same in every script")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    return parser


def whole_dataset(name: str) -> Dataset:
    """The data set with all its training images, as in the note: one is held out, the least that weightsmith allows."""
    return load_dataset(name, validation=1)


def checkpoint_path(epoch: int) -> Path:
    return CHECKPOINTS / f"weights_epoch_{epoch}.pth"


def read_original(epoch: int) -> dict[str, Tensor]:
    """The target CNN's weights after `epoch`. Raises `BadInput` when missing, `ArtifactError` when damaged."""
    path = checkpoint_path(epoch)
    if not path.exists():
        raise BadInput(f"{path} does not exist", "run train_target_model.py first, in this folder")
    return read_checkpoint(path)


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
