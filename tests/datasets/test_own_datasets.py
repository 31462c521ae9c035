"""A user's own data set: a folder of images by class, or arrays in a .npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weightsmith.datasets import load_dataset
from weightsmith.errors import ArtifactError, BadInput

random = np.random.default_rng(0)


def write_images(folder: Path, count: int, size: tuple[int, int] = (9, 7), colour: bool = False) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = random.integers(0, 256, (*size, 3) if colour else size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def test_a_folder_by_class(tmp_path: Path) -> None:
    write_images(tmp_path / "train" / "cat", 8)
    write_images(tmp_path / "train" / "ant", 6)
    write_images(tmp_path / "test" / "cat", 3, size=(5, 4))
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    data = load_dataset(str(tmp_path), validation=2)
    assert (data.classes, data.input_shape) == (2, (1, 9, 7))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 2, 3]
    assert data.test.labels.tolist() == [1, 1, 1]  # classes by name: ant, cat
    assert data.active_inputs.all()
    assert str(tmp_path) not in data.source
    assert data.name == tmp_path.name


def test_a_folder_without_test_images_in_colour(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 10, colour=True)
    write_images(tmp_path / "b", 5)
    data = load_dataset(f"{tmp_path}/", validation=3, image_size=6)
    assert data.input_shape == (3, 6, 6)
    assert torch.bincount(data.test.labels).tolist() == [2, 1]
    torch.testing.assert_close(data.train.images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 4)
    write_images(tmp_path / "b", 4)
    whole = (tmp_path / "b" / "2.png").read_bytes()
    for data in (b"", b"not a png", whole[: len(whole) // 2]):
        (tmp_path / "b" / "2.png").write_bytes(data)
        with pytest.raises(ArtifactError, match=r"b/2\.png cannot be read"):
            load_dataset(str(tmp_path), validation=1)


def test_a_changed_pixel_changes_the_fingerprint(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 4)
    write_images(tmp_path / "b", 4)
    before = load_dataset(str(tmp_path), validation=1).fingerprint
    assert load_dataset(str(tmp_path), validation=1).fingerprint == before
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "a" / "0.png")
    assert load_dataset(str(tmp_path), validation=1).fingerprint != before


@pytest.mark.parametrize(("folders", "told"), [([], "0 class folders"), (["a"], "1 class"), (["a", "b"], "no images")])
def test_a_folder_without_images_is_refused(tmp_path: Path, folders: list[str], told: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(BadInput, match=told):
        load_dataset(str(tmp_path))


def arrays(count: int, shape: tuple[int, ...], dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    return random.integers(0, 256, (count, *shape)).astype(dtype), np.arange(count) % 3


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 5), (1, 6, 5)), ((6, 5, 3), (3, 6, 5)), ((3, 6, 5), (3, 6, 5)), ((6, 5, 1), (1, 6, 5))]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_arrays_in_every_order(tmp_path: Path, shape, expected, dtype) -> None:
    images, labels = arrays(30, shape, dtype)
    test_images, test_labels = arrays(7, shape, dtype)
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=test_images, y_test=test_labels[:, None])
    data = load_dataset(str(path), validation=4)
    assert (data.input_shape, data.classes, data.name) == (expected, 3, "mine")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [26, 4, 7]
    flat = data.test.images if shape == expected else data.test.images.permute(0, 2, 3, 1)
    values = torch.from_numpy(test_images.astype(np.float32)).reshape(flat.shape)
    assert torch.corrcoef(torch.stack([flat.flatten(), values.flatten()]))[0, 1] > 0.97


def test_arrays_without_a_test_part(tmp_path: Path) -> None:
    images, labels = arrays(30, (6, 5))
    np.savez_compressed(tmp_path / "mine.npz", train_images=images / 255, train_labels=labels)
    data = load_dataset(str(tmp_path / "mine.npz"), validation=4)
    assert torch.bincount(data.test.labels).tolist() == [2, 2, 2]
    assert "stratified fifth" in data.source


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train_labels": None}, "holds no 'train_labels'"),
        ({"test_images": arrays(3, (6, 5))[0]}, "holds no 'test_labels'"),
        ({"train_labels": np.arange(29)}, "30 train images and 29 labels"),
        ({"train_labels": np.arange(30) - 1}, "from -1"),
        ({"train_labels": np.arange(30.0)}, "float64"),
        ({"train_images": np.full((30, 6, 5), np.nan)}, "NaN"),
        ({"train_images": np.zeros((30, 3, 6, 3))}, "channels first or last"),
        ({"train_images": np.zeros((30, 6))}, "no shape of images"),
        ({"train_images": np.zeros((30, 6, 0))}, "are empty"),
        ({"train_images": np.array(["a"] * 30)}, "<U1"),
        ({"x_train": np.zeros((30, 6, 5))}, "holds both"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(tmp_path: Path, change, told: str) -> None:
    images, labels = arrays(30, (6, 5))
    held = {"train_images": images, "train_labels": labels, **change}
    np.savez(tmp_path / "mine.npz", **{name: array for name, array in held.items() if array is not None})
    with pytest.raises(BadInput, match=told):
        load_dataset(str(tmp_path / "mine.npz"), validation=4)


class _Trap:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_in_an_array_is_refused_unrun(tmp_path: Path) -> None:
    trap = np.array([_Trap(tmp_path / "trace")] * 2, dtype=object)
    np.savez(tmp_path / "mine.npz", train_images=trap, train_labels=np.arange(2))
    with pytest.raises(ArtifactError, match="plain arrays"):
        load_dataset(str(tmp_path / "mine.npz"))
    assert not (tmp_path / "trace").exists()


def test_a_file_written_anew_is_read_anew_while_the_old_is_held(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    loaded = []
    for seed in range(2):
        images = np.random.default_rng(seed).integers(0, 255, (40, 5, 6), dtype=np.uint8)
        np.savez(path, train_images=images, train_labels=np.arange(40) % 4)
        loaded.append(load_dataset(str(path)))
    assert loaded[0].fingerprint != loaded[1].fingerprint
