"""Row 33: a data set with a changed byte is refused by its hash, with the command to fetch it again.

And rows 9, 10, 15, 25, 31 and 32 where data sets are fetched and read.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import struct
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damage import fill
from PIL import Image
from small_zoo import as_nobody, in_child

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
    "damage", [b"", b"<html>", b"\x1f\x8b\x08", gzip.compress(b"other", mtime=0), gzip.compress(bytes(9**7), mtime=0)]
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


def test_row_9_full_disk_while_a_data_set_is_fetched(
    tmp_path: Path, known, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "mirror", known)
    monkeypatch.setattr(module, "_cache", lambda: small_disk / "cache")
    (small_disk / "cache").mkdir()
    filler = fill(small_disk, 2 * 4096)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*\.gz(.|\n)*free some disk space"):
        module.mnist(None)
    mirror = {path.name: path.read_bytes() for path in (tmp_path / "mirror").iterdir()}
    kept = {path.name: path.read_bytes() for path in (small_disk / "cache").iterdir()}
    assert kept.items() < mirror.items()
    filler.unlink()
    assert len(module.mnist(None).train_labels) == 12


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become another user")
def test_row_10_a_cache_that_cannot_be_written(tmp_path: Path, known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTSMITH_DATA_DIR")  # which is not to be read by others
    monkeypatch.setattr(module, "_download", lambda file: known[file.name])
    monkeypatch.setattr(module, "_cache", lambda: Path("/weightsmith-cache"))
    status, said = in_child(as_nobody(lambda: module.mnist(None)))
    assert status == 1
    assert "EnvironmentFault: cannot write /weightsmith-cache" in said
    assert "choose a folder that you may write to" in said


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("empty.npz", b"", "is not a whole .npz file"),
        ("garbage.npz", bytes(range(256)), "is not a whole .npz file"),
        ("images.npy", b"\x93NUMPY", "is not a folder"),
        ("images.csv", b"1,2,3", "is not a folder"),
        ("images", b"", "is not a folder"),
    ],
)
def test_row_15_files_that_are_no_data_set(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name} {told}(.|\n)*remedy: "):
        load_dataset(str(tmp_path / name))


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_rows_25_and_31_what_else_lies_in_a_data_set_is_never_read_or_unpacked(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    data, mark, array = tmp_path / "in" / "mine.npz", tmp_path / "ran", io.BytesIO()
    data.parent.mkdir()
    np.savez(data, x_train=images, y_train=np.arange(40) % 2)
    expected = load_dataset(str(data)).fingerprint
    np.save(array, images)
    with zipfile.ZipFile(data, "a") as archive:
        for name in ("../../x.npy", "/tmp/../x.npy", "..\\x.npy"):
            archive.writestr(name, array.getvalue())
        archive.writestr("metadata.pkl", pickle.dumps(Trap(mark)))
    assert load_dataset(str(data)).fingerprint == expected
    folder = tmp_path / "images"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(images[number]).save(folder / label / f"{number}.png")
    expected = load_dataset(str(folder), validation=2).fingerprint
    for place in (folder, folder / "a"):
        for name in ("metadata.pkl", "labels.pt", "__init__.py"):
            (place / name).write_bytes(pickle.dumps(Trap(mark)))
    assert load_dataset(str(folder), validation=2).fingerprint == expected
    assert not mark.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "images"}


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_row_32_a_cache_that_is_a_link(tmp_path: Path, known, linked: str) -> None:
    """A folder is written where the link leads; a link in a file's place is replaced, and its target left alone."""
    put(tmp_path / "mirror", known)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_bytes(b"mine")
    if linked == "folder":
        (tmp_path / "cache").symlink_to(elsewhere)
    else:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "train-images.gz").symlink_to(elsewhere / "missing")
    assert len(module.mnist(None).train_labels) == 12
    assert (elsewhere / "thesis.tex").read_bytes() == b"mine"
    assert len(list(elsewhere.iterdir())) == (1 + len(known) if linked == "folder" else 1)


def test_row_32_a_linked_file_of_other_content_is_refused_and_left(tmp_path: Path, known) -> None:
    put(tmp_path / "cache", known)
    (tmp_path / "thesis.tex").write_bytes(b"mine")
    (tmp_path / "cache" / "train-images.gz").unlink()
    (tmp_path / "cache" / "train-images.gz").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(ArtifactError, match=r"train-images(.|\n)*fetch it again"):
        module.mnist(None)
    assert (tmp_path / "thesis.tex").read_bytes() == b"mine"
    assert (tmp_path / "cache" / "train-images.gz").is_symlink()
