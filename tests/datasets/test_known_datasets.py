"""MNIST, the sets derived from it, and scikit-learn's digits."""

from __future__ import annotations

import time

import pytest
import torch

from weightsmith.datasets import Dataset, DatasetRequest, load_dataset, mnist_is_available
from weightsmith.datasets import digits as digits_module
from weightsmith.errors import BadInput
from weightsmith.settings.sections import DatasetSettings

needs_mnist = pytest.mark.skipif(
    not mnist_is_available(), reason="MNIST is not at hand; set WEIGHTSMITH_DATA_DIR to the folder that holds it"
)


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load_dataset("mnist")


@needs_mnist
def test_mnist_is_the_notes(mnist: Dataset) -> None:
    assert [len(split) for split in (mnist.train, mnist.validation, mnist.test)] == [55_000, 5_000, 10_000]
    assert mnist.train.images.dtype == torch.float32
    assert mnist.train.labels.dtype == torch.int64
    assert (mnist.classes, mnist.input_shape) == (10, (1, 28, 28))
    assert mnist.train.images.min().item() == pytest.approx(-0.1307 / 0.3081)
    assert mnist.train.images.max().item() == pytest.approx((1 - 0.1307) / 0.3081)
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.active_inputs.shape == (1, 28, 28)
    assert not mnist.active_inputs[0, 0, 0]
    assert mnist.active_inputs[0, 14, 14]


@needs_mnist
def test_mnist_loads_quickly() -> None:
    start = time.process_time()
    load_dataset("mnist", seed=3)
    assert time.process_time() - start < 4  # about 0.8 s on an idle core


@needs_mnist
def test_derived_sets_are_what_they_say(mnist: Dataset) -> None:
    rotated = load_dataset("mnist-rotated")
    assert torch.equal(rotated.test.images, mnist.test.images.rot90(1, (2, 3)))
    assert rotated.test.images.is_contiguous()
    inverted = load_dataset("mnist-inverted")
    torch.testing.assert_close(inverted.test.images, -mnist.test.images, atol=1e-5, rtol=0)
    relabelled = load_dataset("mnist-relabelled")
    assert torch.equal(relabelled.train.images, mnist.train.images)
    assert not (relabelled.train.labels == mnist.train.labels).any()
    assert relabelled.train.labels.unique().tolist() == list(range(10))
    assert len({data.fingerprint for data in (mnist, rotated, inverted, relabelled)}) == 4


@needs_mnist
def test_mnist_in_another_size() -> None:
    small = load_dataset(DatasetSettings(image_size=14), seed=1)
    assert small.input_shape == (1, 14, 14)
    assert small.test.images.shape == (10_000, 1, 14, 14)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def test_digits_are_those_of_scikit_learn_with_and_without_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    bunch, table = load_digits(), digits_module._table()
    assert (table[:, :64] == bunch.data).all()
    assert (table[:, 64] == bunch.target).all()
    monkeypatch.setattr(digits_module.importlib.util, "find_spec", lambda name: None)
    assert (digits_module._table() == table).all()


def test_digits_are_split_and_normalised(digits: Dataset) -> None:
    lengths = [len(digits.train), len(digits.validation), len(digits.test)]
    assert sum(lengths) == 1797
    assert lengths[1] == (lengths[0] + lengths[1]) // 4
    assert "a quarter; 5000 were asked for" in digits.source
    assert digits.input_shape == (1, 28, 28)
    assert digits.train.images.mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train.images.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.bincount(digits.test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert load_dataset("digits", image_size=8).input_shape == (1, 8, 8)


def test_the_seed_moves_validation_and_never_test(digits: Dataset) -> None:
    other = load_dataset("digits", seed=1)
    assert torch.equal(other.test.labels, digits.test.labels)
    assert not torch.equal(other.validation.labels, digits.validation.labels)
    assert other.fingerprint != digits.fingerprint
    assert load_dataset("digits", validation=100).fingerprint != digits.fingerprint


def test_the_same_request_gives_the_same_data(digits: Dataset) -> None:
    first = digits.validation.images.clone()
    assert load_dataset(DatasetRequest("digits")) is digits
    again = load_dataset("digits", validation=4999)  # also a quarter
    assert torch.equal(again.validation.images, first)
    assert again.fingerprint == digits.fingerprint


def test_head(digits: Dataset) -> None:
    assert digits.test.head(3).images.shape == (3, 1, 28, 28)
    assert len(digits.test.head(10**6)) == len(digits.test)


def test_unknown_names_and_empty_splits_are_refused() -> None:
    with pytest.raises(BadInput, match="'mnist'"):
        load_dataset("minst")
    with pytest.raises(BadInput, match="does not exist"):
        load_dataset("./no-such-folder")
    with pytest.raises(BadInput, match="validation"):
        load_dataset("digits", validation=0)
