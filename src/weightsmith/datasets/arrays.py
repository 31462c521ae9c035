"""A user's own data set as arrays in one .npz file, read without ever unpickling."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightsmith.datasets.raw import RawData, stratified_split
from weightsmith.errors import ArtifactError, BadInput

MAX_BYTES = 8 * 2**30
MAX_CLASSES = 100_000
_CHANNELS = (1, 3, 4)
_TEST_SHARE = 0.2
_NAMES = {
    "train_images": ("train_images", "x_train"),
    "train_labels": ("train_labels", "y_train"),
    "test_images": ("test_images", "x_test"),
    "test_labels": ("test_labels", "y_test"),
}


def read_arrays(path: Path, image_size: int | None) -> RawData:
    """Images `[n, h, w]`, `[n, h, w, c]` or `[n, c, h, w]`, uint8 or float, and integer labels `[n]`.

    Named train_images, train_labels, test_images, test_labels (or x_train, y_train, ...); without the test arrays a
    fixed stratified fifth is the test split. Raises `ArtifactError` for a damaged file, `BadInput` for other content.
    """
    arrays = _load(path)
    images, labels = _part(arrays, "train", path)
    if "test_images" in arrays or "test_labels" in arrays:
        test_images, test_labels = _part(arrays, "test", path)
        derivation = "as read"
    else:
        train, test = stratified_split(labels, _TEST_SHARE)
        images, labels, test_images, test_labels = images[train], labels[train], images[test], labels[test]
        derivation = "stratified fifth for test"
    if images.shape[1:] != test_images.shape[1:]:
        raise BadInput(
            f"{path}: training images are {list(images.shape[1:])}, test images {list(test_images.shape[1:])}",
            "give both in one shape",
        )
    return RawData(
        name=path.stem,
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=int(max(labels.max(), test_labels.max())) + 1 if len(labels) and len(test_labels) else 0,
        source=f"arrays in {path.name}, {derivation}",
        derivation=derivation,
        image_size=image_size,
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays under their canonical names; of each pair of names one may be in the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise BadInput(f"{path} unpacks to {size} bytes, more than {MAX_BYTES}", "give a smaller data set")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[found] for name, found in _found(file, path).items()}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError) as error:
        raise _damaged(path, error) from None
    except (SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a whole .npz file of plain arrays: {error}", "write it again with numpy.savez_compressed"
    )


def _found(file: Mapping[str, Any], path: Path) -> dict[str, str]:
    found = {}
    for name, spellings in _NAMES.items():
        present = [spelling for spelling in spellings if spelling in file]
        if len(present) > 1:
            raise BadInput(f"{path} holds both {present[0]!r} and {present[1]!r}", "keep one of them")
        if present:
            found[name] = present[0]
    return found


def _part(arrays: Mapping[str, np.ndarray], part: str, path: Path) -> tuple[Tensor, Tensor]:
    for name in (f"{part}_images", f"{part}_labels"):
        if name not in arrays:
            raise BadInput(f"{path} holds no {name!r}", f"give it, or as {_NAMES[name][1]!r}")
    images = _images(arrays[f"{part}_images"], f"{part}_images of {path}")
    labels = _labels(arrays[f"{part}_labels"], f"{part}_labels of {path}")
    if len(images) != len(labels):
        raise BadInput(f"{path} holds {len(images)} {part} images and {len(labels)} labels", "give one label an image")
    return images, labels


def _images(array: np.ndarray, name: str) -> Tensor:
    """`[image, channel, height, width]`, uint8 where it was, else float32."""
    if array.dtype.kind not in "buif":
        raise BadInput(f"{name} are {array.dtype}", "give uint8 or float values")
    values = array.astype(np.uint8) * np.uint8(255) if array.dtype.kind == "b" else array
    values = values if values.dtype == np.uint8 else values.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise BadInput(f"{name} hold NaN, infinity or values beyond float32", "remove those images")
    return _channels_first(tensor, name)


def _channels_first(tensor: Tensor, name: str) -> Tensor:
    if 0 in tensor.shape:
        raise BadInput(f"{name} are empty, {list(tensor.shape)}", "give at least one image")
    if tensor.ndim == 3:
        return tensor[:, None]
    last = tensor.ndim == 4 and tensor.shape[3] in _CHANNELS
    first = tensor.ndim == 4 and tensor.shape[1] in _CHANNELS
    if last == first:
        reason = "which may be channels first or last" if last else "which is no shape of images"
        raise BadInput(
            f"{name} have shape {list(tensor.shape)}, {reason}", "give [n, h, w], [n, h, w, c] or [n, c, h, w]"
        )
    return tensor.permute(0, 3, 1, 2).contiguous() if last else tensor


def _labels(array: np.ndarray, name: str) -> Tensor:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise BadInput(f"{name} are {array.dtype}{list(array.shape)}", "give integers, one an image")
    if len(flat) and not (int(flat.min()) >= 0 and int(flat.max()) < MAX_CLASSES):
        raise BadInput(
            f"{name} go from {flat.min()} to {flat.max()}", f"number the classes from 0, at most {MAX_CLASSES}"
        )
    return torch.from_numpy(flat.astype(np.int64))
