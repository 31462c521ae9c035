"""MNIST and the sets derived from it, from four IDX files whose SHA-256 are known and always checked."""

from __future__ import annotations

import hashlib
import os
import shlex
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from weightsmith.datasets.idx import parse_idx, read_bytes
from weightsmith.datasets.raw import RawData
from weightsmith.errors import ArtifactError, EnvironmentFault
from weightsmith.files import write_bytes

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MEAN, STD = 0.1307, 0.3081
_TIMEOUT = 5.0
_LABELS = torch.tensor([(3 * label + 7) % 10 for label in range(10)])  # a permutation that moves every label


@dataclass(frozen=True)
class KnownFile:
    """A published file: name, shape, and SHA-256 of its decompressed bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        return 4 + 4 * len(self.shape) + int(torch.Size(self.shape).numel())


FILES = (
    KnownFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    KnownFile("train-labels-idx1-ubyte", (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    KnownFile(
        "t10k-images-idx3-ubyte", (10_000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    KnownFile("t10k-labels-idx1-ubyte", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def mnist(image_size: int | None) -> RawData:
    """The handwritten digits: 60,000 training and 10,000 test images of 28x28 pixels.

    Raises `ArtifactError` for a file that is not the published one, `EnvironmentFault` where there is none.
    """
    train_images, train_labels, test_images, test_labels = _read_files()
    return RawData(
        name="mnist",
        train_images=train_images[:, None],
        train_labels=train_labels.long(),
        test_images=test_images[:, None],
        test_labels=test_labels.long(),
        classes=10,
        source="MNIST, 60,000 training and 10,000 test images (LeCun et al. 1998), verified by SHA-256",
        image_size=image_size,
        mean=MEAN,
        std=STD,
    )


def mnist_rotated(image_size: int | None) -> RawData:
    """MNIST with every image turned by 90 degrees, anticlockwise."""
    return _derived("mnist-rotated", mnist(image_size), "rotated by 90 degrees", lambda x: x.rot90(1, (2, 3)))


def mnist_inverted(image_size: int | None) -> RawData:
    """MNIST with black and white exchanged: `255 - x`."""
    raw = _derived("mnist-inverted", mnist(image_size), "inverted, 255 - x", lambda x: 255 - x)
    return replace(raw, mean=1 - MEAN)


def mnist_relabelled(image_size: int | None) -> RawData:
    """MNIST with every label `y` replaced by `(3 y + 7) mod 10`."""
    raw = _derived("mnist-relabelled", mnist(image_size), "relabelled, (3 y + 7) mod 10", lambda x: x)
    return replace(raw, train_labels=_LABELS[raw.train_labels], test_labels=_LABELS[raw.test_labels])


def _derived(name: str, raw: RawData, derivation: str, change: Callable[[Tensor], Tensor]) -> RawData:
    return replace(
        raw,
        name=name,
        train_images=change(raw.train_images).contiguous(),
        test_images=change(raw.test_images).contiguous(),
        source=f"{raw.source}; {derivation}",
        derivation=derivation,
    )


def mnist_is_available() -> bool:
    """Whether MNIST's files are at hand, without a download; their content is checked when they are loaded."""
    return _find() is not None


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("weightsmith")) / "mnist"


def _find() -> list[Path] | None:
    """The four files, plain or gzipped, in the first folder that holds all of them."""
    folders = [_cache()]
    if chosen := os.environ.get("WEIGHTSMITH_DATA_DIR"):
        root = Path(chosen).expanduser()
        folders = [root / "mnist", root, root / "MNIST" / "raw", root / "mnist" / "MNIST" / "raw", *folders]
    for folder in folders:
        found = [_either(folder / file.name) for file in FILES]
        if None not in found:
            return [path for path in found if path is not None]
    return None


def _either(plain: Path) -> Path | None:
    zipped = plain.with_name(f"{plain.name}.gz")
    return next((path for path in (plain, zipped) if path.is_file()), None)


def _read_files() -> list[Tensor]:
    paths = _find() or _fetch(_cache())
    return [_read_file(file, path) for file, path in zip(FILES, paths, strict=True)]


def _read_file(file: KnownFile, path: Path) -> Tensor:
    """The tensor in a file; raises `ArtifactError`, with the command to fetch it again, unless it is the published."""
    try:
        data = read_bytes(path, file.size)
        tensor = parse_idx(data, file.shape, str(path))
    except ArtifactError as error:
        raise ArtifactError(error.message, _fetch_command(file, path)) from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ArtifactError(f"{path} is not the published {file.name}: its SHA-256 differs", _fetch_command(file, path))
    return tensor


def _fetch_command(file: KnownFile, path: Path) -> str:
    zipped = path.with_name(f"{file.name}.gz")
    delete = f"rm {shlex.quote(str(path))} && " if path != zipped else ""
    return f"fetch it again: {delete}curl -fL -o {shlex.quote(str(zipped))} {MIRRORS[0]}{file.name}.gz"


def _fetch(folder: Path) -> list[Path]:
    """Download the four files into `folder`, each checked before it is kept; raises `EnvironmentFault`."""
    if os.environ.get("WEIGHTSMITH_OFFLINE", "") not in ("", "0"):
        raise _unavailable("WEIGHTSMITH_OFFLINE is set")
    paths = []
    for file in FILES:
        path = _either(folder / file.name)
        if path is None:
            path = folder / f"{file.name}.gz"
            write_bytes(path, _download(file))
        paths.append(path)
    return paths


def _download(file: KnownFile) -> bytes:
    reasons = []
    for mirror in MIRRORS:
        url = f"{mirror}{file.name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                data: bytes = response.read(file.size + 4096)
            archive = zlib.decompressobj(wbits=31)  # gzip
            inflated = archive.decompress(data, file.size + 1)
            if archive.eof and hashlib.sha256(inflated).hexdigest() == file.sha256:
                return data
            reasons.append(f"{url}: other content than published")
        except (OSError, ValueError, HTTPException, zlib.error) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
    raise _unavailable("; ".join(reasons))


def _unavailable(reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"MNIST is not at hand and cannot be downloaded ({reason})",
        "set WEIGHTSMITH_DATA_DIR to a folder with its four IDX files; or connect to the network and run again; "
        "or use dataset=digits, which needs no download",
    )
