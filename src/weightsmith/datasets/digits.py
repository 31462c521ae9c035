"""scikit-learn's 1,797 real handwritten digits: small, embedded, always there."""

from __future__ import annotations

import torch

from weightsmith.datasets.raw import RawData, stratified_split

_SIZE = 28  # as MNIST, so that the same architectures fit
_TEST_SHARE = 0.2


def digits(image_size: int | None) -> RawData:
    """The digits, 8x8 pixels of 17 greys, to be resized to 28x28 unless `image_size` says otherwise."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None] * 15  # 0 to 16 becomes 0 to 240
    labels = torch.from_numpy(bunch.target).long()
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
