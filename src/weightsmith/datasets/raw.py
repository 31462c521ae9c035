"""RawData: images and labels as they were read; `assemble` splits, resizes and normalises them into a `Dataset`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn import functional

from weightsmith.datasets.record import Dataset, DatasetRequest, Split
from weightsmith.errors import BadInput
from weightsmith.hashed import canonical_json
from weightsmith.seeds import derive_seed

_SPLIT_SEED = 1_797  # of test splits that a data set does not bring; constant, so that every experiment reports on it


@dataclass(frozen=True, eq=False)
class RawData:
    """Images `[image, channel, height, width]`, uint8 or float32, and int64 labels in [0, classes), in two parts.

    `derivation` says what was done to the source; `mean` and `std` are of x/255, or None to take the train split's.
    """

    name: str
    train_images: Shaped[Tensor, "train channel height width"]
    train_labels: Int[Tensor, " train"]
    test_images: Shaped[Tensor, "test channel height width"]
    test_labels: Int[Tensor, " test"]
    classes: int
    source: str
    derivation: str = "as read"
    image_size: int | None = None
    mean: float | None = None
    std: float | None = None


def assemble(raw: RawData, request: DatasetRequest) -> Dataset:
    """Cut the validation split by seed, resize, normalise by `(x/255 - mean)/std`, and take the fingerprint.

    Raises `BadInput` where there are too few images to split.
    """
    held_out = min(request.validation, len(raw.train_labels) // 4)
    if held_out < 1 or not len(raw.test_labels):
        raise BadInput(
            f"data set {raw.name!r} has {len(raw.train_labels)} training and {len(raw.test_labels)} test images, "
            f"and {request.validation} are wanted for validation",
            "give at least 4 training images, 1 test image and dataset.validation of 1 or more",
        )
    order = _permutation(len(raw.train_labels), derive_seed(request.seed, "dataset", "validation"))
    validation, train = order[:held_out].sort().values, order[held_out:].sort().values
    images = _resized(raw.train_images, raw.image_size)
    mean, std = _statistics(raw, images, train)
    train_split = Split(_normalised(images[train], mean, std), raw.train_labels[train])
    return Dataset(
        name=raw.name,
        train=train_split,
        validation=Split(_normalised(images[validation], mean, std), raw.train_labels[validation]),
        test=Split(_normalised(_resized(raw.test_images, raw.image_size), mean, std), raw.test_labels),
        classes=raw.classes,
        input_shape=(images.shape[1], images.shape[2], images.shape[3]),
        fingerprint=_fingerprint(raw, request.seed, held_out),
        source=_source(raw, request, held_out),
        active_inputs=train_split.images.amin(dim=0) != train_split.images.amax(dim=0),
    )


def stratified_split(labels: Int[Tensor, " image"], share: float) -> tuple[Tensor, Tensor]:
    """Positions (train, test), ascending: about `share` of every class is test, at least one where a class has two."""
    test = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        count = max(round(share * len(members)), 1) if len(members) > 1 else 0
        order = _permutation(len(members), derive_seed(_SPLIT_SEED, "dataset", "test", int(label)))
        test.append(members[order[:count]])
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[torch.cat(test)] = True
    return (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _resized(images: Tensor, size: int | None) -> Tensor:
    if size is None or images.shape[2:] == (size, size):
        return images
    shape = (size, size)
    return functional.interpolate(images.float(), shape, mode="bilinear", align_corners=False, antialias=True)


def _statistics(raw: RawData, images: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of x/255 a channel, `[channel, 1, 1]`; a channel of one value has deviation 1."""
    if raw.mean is not None and raw.std is not None:
        shape = (images.shape[1], 1, 1)
        return torch.full(shape, raw.mean), torch.full(shape, raw.std)
    std, mean = torch.std_mean(images[train].double() / 255, dim=(0, 2, 3), correction=0, keepdim=True)
    std = torch.where(std > 1e-12, std, 1.0)
    return mean[0].float(), std[0].float()


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return images.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)


def _fingerprint(raw: RawData, seed: int, validation: int) -> str:
    """Taken before resizing and normalising, whose last bits may differ between machines."""
    parts = (raw.train_images, raw.train_labels, raw.test_images, raw.test_labels)
    document = {
        "derivation": raw.derivation,
        "image_size": raw.image_size,
        "normalisation": [raw.mean, raw.std],
        "seed": seed,
        "validation": validation,
        "parts": [[str(part.dtype), list(part.shape)] for part in parts],
    }
    digest = hashlib.sha256(canonical_json(document).encode())
    for part in parts:
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def _source(raw: RawData, request: DatasetRequest, held_out: int) -> str:
    size = f", resized bilinearly to {raw.image_size}x{raw.image_size}" if raw.image_size else ""
    cut = f"{held_out} training images are the validation split, by seed {request.seed}"
    if held_out < request.validation:
        cut += f" (a quarter; {request.validation} were asked for)"
    return f"{raw.source}{size}; {cut}"
