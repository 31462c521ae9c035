"""Load a data set by its registered name, or from a folder of images or a .npz file."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from weightsmith.datasets.arrays import read_arrays
from weightsmith.datasets.folder import read_folder
from weightsmith.datasets.mnist import mnist_is_available
from weightsmith.datasets.raw import RawData, assemble
from weightsmith.datasets.record import Dataset, DatasetRequest
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DATASETS, load_entry, nearest
from weightsmith.settings.sections import DatasetSettings, is_dataset_path

_Key = tuple[DatasetRequest, str | None, tuple[int, int] | None]
# Data sets that are in use in this process, so that they are not held twice; one that nobody holds is read anew.
_IN_USE: weakref.WeakValueDictionary[_Key, Dataset] = weakref.WeakValueDictionary()


def load_dataset(
    dataset: DatasetRequest | DatasetSettings | str,
    *,
    validation: int = 5000,
    seed: int = 0,
    image_size: int | None = None,
) -> Dataset:
    """The data set of a request, of a recipe's section with the split's `seed`, or of a name or path.

    `validation` and `image_size` (pixels) go with a bare name. Raises `BadInput` for an unknown name,
    `ArtifactError` for damaged files and `EnvironmentFault` where files are neither at hand nor to be fetched.
    """
    if isinstance(dataset, str):
        dataset = DatasetRequest(dataset, validation, seed, image_size)
    elif isinstance(dataset, DatasetSettings):
        dataset = DatasetRequest(dataset.name, dataset.validation, seed, dataset.image_size)
    key = (dataset, os.environ.get("WEIGHTSMITH_DATA_DIR"), _version(dataset))
    found = _IN_USE.get(key)
    if found is None:
        found = assemble(_read(dataset), dataset)
        _IN_USE[key] = found
    return found


def is_at_hand(request: DatasetRequest) -> bool:
    """Whether a data set can be had without a download; its content is checked when it is loaded."""
    if is_dataset_path(request.name):
        return Path(request.name).expanduser().exists()
    fetched = DATASETS.get(request.name, "").startswith(f"{mnist_is_available.__module__}:")
    return mnist_is_available() if fetched else True


def _version(request: DatasetRequest) -> tuple[int, int] | None:
    """What changes when a file is written anew under its old name."""
    path = Path(request.name).expanduser()
    if not is_dataset_path(request.name) or not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _read(request: DatasetRequest) -> RawData:
    if request.name in DATASETS:
        raw: RawData = load_entry(DATASETS[request.name])(request.image_size)
        return raw
    if not is_dataset_path(request.name):
        near = nearest(request.name, DATASETS)
        hint = f"did you mean {near!r}? " if near else ""
        raise BadInput(
            f"unknown data set {request.name!r}",
            f"{hint}Known are {', '.join(DATASETS)}; a folder of images is given as a path, as ./{request.name}",
        )
    path = Path(request.name).expanduser()
    if not path.exists():
        raise BadInput(f"data set {request.name!r} does not exist", "check the path")
    return read_arrays(path, request.image_size) if path.suffix == ".npz" else read_folder(path, request.image_size)
