"""Fault 33: a data set with a changed byte is refused by its hash, with the command to fetch it again."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from weightsmith.datasets import load_dataset, mnist_is_available
from weightsmith.datasets import mnist as module
from weightsmith.errors import ArtifactError, BadInput, EnvironmentFault

SHAPES = {"train-images": (12, 4, 4), "train-labels": (12,), "t10k-images": (5, 4, 4), "t10k-labels": (5,)}


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small set published in MNIST's form, known by its hashes; nothing is at hand and no network is used."""
    random = np.random.default_rng(0)
    contents = {}
    for name, shape in SHAPES.items():
        values = random.integers(0, 10, shape, dtype=np.uint8)
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        contents[name] = header + values.tobytes()
    files = tuple(
        module.KnownFile(name, SHAPES[name], hashlib.sha256(data).hexdigest()) for name, data in contents.items()
    )
    monkeypatch.setattr(module, "FILES", files)
    monkeypatch.setattr(module, "MIRRORS", ((tmp_path / "mirror").as_uri() + "/",))
    monkeypatch.setattr(module, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("WEIGHTSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("WEIGHTSMITH_OFFLINE", raising=False)
    return contents


def put(folder: Path, contents: dict[str, bytes], zipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize("folder", ["data/mnist", "data", "data/MNIST/raw", "cache"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_found_where_the_design_says(tmp_path: Path, known, folder: str, zipped: bool) -> None:
    assert not mnist_is_available()
    put(tmp_path / folder, known, zipped)
    assert mnist_is_available()
    assert len(load_dataset("mnist", validation=2).train) == 10


@pytest.mark.parametrize("name", SHAPES)
def test_every_changed_byte_is_refused(tmp_path: Path, known, name: str) -> None:
    folder = tmp_path / "data" / "mnist"
    put(folder, known, zipped=False)
    for index in range(len(known[name])):
        damaged = bytearray(known[name])
        damaged[index] ^= 1 << index % 8
        (folder / name).write_bytes(damaged)
        with pytest.raises(ArtifactError, match=name) as caught:
            module.mnist(None)
        assert "fetch it again: rm " in caught.value.remedy
        assert f"curl -fL -o {folder / name}.gz" in caught.value.remedy


def test_every_changed_or_missing_byte_of_a_gzip_is_refused_or_harmless(tmp_path: Path, known) -> None:
    folder = tmp_path / "data" / "mnist"
    put(folder, known)
    path = folder / "train-images.gz"
    whole, expected = path.read_bytes(), module.mnist(None).train_images
    harmless = 0
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        path.write_bytes(damaged)
        try:
            assert (module.mnist(None).train_images == expected).all()
            harmless += 1
        except ArtifactError as error:
            assert "curl" in error.remedy  # noqa: PT017
    assert harmless <= 10  # fields of the gzip header that say nothing about the content, such as its time
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"train-images\.gz"):
            module.mnist(None)


def test_a_gzip_that_inflates_without_end_is_refused(tmp_path: Path, known) -> None:
    put(tmp_path / "data", known)
    (tmp_path / "data" / "train-labels.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ArtifactError, match="more than"):
        module.mnist(None)


def test_a_download_is_checked_and_kept(tmp_path: Path, known) -> None:
    put(tmp_path / "mirror", known)
    assert len(module.mnist(None).train_labels) == 12
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(f"{name}.gz" for name in known)
    assert mnist_is_available()


@pytest.mark.parametrize(
    "damage", [b"", b"<html>", b"\x1f\x8b\x08", gzip.compress(b"other"), gzip.compress(bytes(9**7))]
)
def test_a_damaged_download_is_not_kept(tmp_path: Path, known, damage: bytes) -> None:
    put(tmp_path / "mirror", known)
    (tmp_path / "mirror" / "train-images.gz").write_bytes(damage)
    with pytest.raises(EnvironmentFault):
        module.mnist(None)
    assert not list(tmp_path.glob("cache/*"))


def test_where_nothing_works_all_three_remedies_are_named(known, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be downloaded") as caught:
        load_dataset("mnist")
    assert caught.value.exit_status == 1
    for remedy in ("WEIGHTSMITH_DATA_DIR", "network", "dataset=digits"):
        assert remedy in caught.value.remedy

    def never(*_: object, **__: object) -> None:
        raise urllib.error.URLError("the network was used")

    monkeypatch.setattr(module.urllib.request, "urlopen", never)
    monkeypatch.setenv("WEIGHTSMITH_OFFLINE", "1")
    with pytest.raises(EnvironmentFault, match="WEIGHTSMITH_OFFLINE is set"):
        load_dataset("mnist")


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, train_images=np.arange(8 * 9, dtype=np.uint8).reshape(8, 3, 3), train_labels=np.arange(8) % 2)
    whole, expected = path.read_bytes(), load_dataset(str(path), validation=1).fingerprint
    for index in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        for data in (damaged, whole[:index]):
            path.write_bytes(data)
            with contextlib.suppress(BadInput):
                assert load_dataset(str(path), validation=1).fingerprint == expected
