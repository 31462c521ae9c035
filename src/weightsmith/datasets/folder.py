"""A user's own data set as a folder of images by class: `train/CLASS/*.png`, and `test/CLASS/*.png` if there is one."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightsmith.datasets.raw import RawData, stratified_split
from weightsmith.errors import ArtifactError, BadInput

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L"})
_TEST_SHARE = 0.2


class _Files(NamedTuple):
    paths: list[Path]
    labels: Tensor


def read_folder(path: Path, image_size: int | None) -> RawData:
    """Greyscale where all images are, else RGB; all of one size: `image_size` or the most common one.

    Without `test/` a fixed stratified fifth is the test split; without `train/` the classes are in the folder itself.
    Raises `ArtifactError` naming an image that cannot be read, `BadInput` where there are no images.
    """
    root = path / "train" if (path / "train").is_dir() else path
    classes = _classes(root)
    if len(classes) < 2:
        raise BadInput(f"{root} has {len(classes)} class folders", "give one folder of images a class, at least two")
    files = _list(root, classes)
    train, test, derivation = _parts(path, root, classes, files)
    images = [_read(file) for file in [*train.paths, *test.paths]]
    stacked = _stack(images, image_size)
    count = len(train.paths)
    return RawData(
        name=path.resolve().name,
        train_images=stacked[:count],
        train_labels=train.labels,
        test_images=stacked[count:],
        test_labels=test.labels,
        classes=len(classes),
        source=f"{len(images)} images of {len(classes)} classes in folder {path.resolve().name!r}, {derivation}",
        derivation=f"{derivation}; classes {', '.join(classes)}",
    )


def _parts(path: Path, root: Path, classes: list[str], files: _Files) -> tuple[_Files, _Files, str]:
    if root != path and (path / "test").is_dir():
        extra = [name for name in _classes(path / "test") if name not in classes]
        if extra:
            raise BadInput(f"class {extra[0]!r} of {path / 'test'} is not in {root}", "give both the same classes")
        return files, _list(path / "test", classes), "with its own test images"
    train, test = stratified_split(files.labels, _TEST_SHARE)
    parts = (_Files([files.paths[i] for i in part.tolist()], files.labels[part]) for part in (train, test))
    return next(parts), next(parts), "a stratified fifth for test"


def _classes(root: Path) -> list[str]:
    if not root.is_dir():
        raise BadInput(f"data set {root} is not a folder", "give a folder of images by class, or a .npz file")
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list(root: Path, classes: list[str]) -> _Files:
    """Every image file, by class and then by name; other files are no part of the data set."""
    paths, labels = [], []
    for label, name in enumerate(classes):
        folder = root / name
        found = sorted(entry for entry in folder.iterdir() if _is_image(entry)) if folder.is_dir() else []
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise BadInput(f"{root} holds no images", f"give files ending in {', '.join(sorted(SUFFIXES))}")
    return _Files(paths, torch.tensor(labels, dtype=torch.int64))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read(path: Path) -> np.ndarray:
    """Pixels, uint8, `[height, width]` for a grey image and `[height, width, 3]` for any other."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.array(image.convert("L" if image.mode in _GREY_MODES else "RGB"))
    except Exception as error:  # on damaged files its decoders raise SyntaxError, struct.error, IndexError and others
        raise ArtifactError(f"image {path} cannot be read: {error}", "restore or remove it") from None


def _stack(images: list[np.ndarray], image_size: int | None) -> Tensor:
    """`[image, channel, height, width]`, uint8; images of another size are resized bilinearly."""
    from PIL import Image

    sizes = collections.Counter(image.shape[:2] for image in images)
    height, width = (image_size, image_size) if image_size else max(sorted(sizes), key=lambda size: sizes[size])
    colour = any(image.ndim == 3 for image in images)
    result = np.empty((len(images), height, width, 3 if colour else 1), dtype=np.uint8)
    for index, pixels in enumerate(images):
        if pixels.shape[:2] != (height, width):
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        result[index] = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous()
