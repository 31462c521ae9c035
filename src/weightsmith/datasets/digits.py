"""scikit-learn's 1,797 real handwritten digits: small, embedded, always there."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from weightsmith.datasets.raw import RawData, stratified_split

_SIZE = 28  # as MNIST, so that the same architectures fit
_TEST_SHARE = 0.2


def digits(image_size: int | None) -> RawData:
    """The digits, 8x8 pixels of 17 greys, to be resized to 28x28 unless `image_size` says otherwise."""
    table = torch.from_numpy(_table())
    images = table[:, :64].reshape(-1, 1, 8, 8).to(torch.uint8) * 15  # 0 to 16 becomes 0 to 240
    labels = table[:, 64].long()
    train, test = stratified_split(labels, _TEST_SHARE)
    return RawData(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=10,
        source="scikit-learn's 1,797 handwritten digits of 8x8 pixels, a fixed stratified fifth of them for test",
        image_size=image_size or _SIZE,
    )


def _table() -> np.ndarray:
    """A line an image: 64 greys, and the digit. As scikit-learn's `load_digits`, from the same file where it lies as it
    has for years: importing scikit-learn takes longer than everything else that is done with these few images."""
    package = importlib.util.find_spec("sklearn")
    file = Path((package and package.origin) or "").parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        with gzip.open(file, "rt", encoding="ascii") as lines:
            return np.loadtxt(lines, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])
