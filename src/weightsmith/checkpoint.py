"""State dicts on disk, `.safetensors` and PyTorch's `.pt`/`.pth`: read without executing anything, written whole."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, LayoutMismatch
from weightsmith.files import write_bytes
from weightsmith.layout import Layout
from weightsmith.tensorfile import read_header, read_tensors, write_tensors

TORCH_SUFFIXES = (".pt", ".pth")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
Kind = Literal["safetensors", "torch"]
# What state dicts are made of, and the plain containers that training scripts save beside them.
_PLAIN_GLOBAL = re.compile(
    r"collections (OrderedDict|Counter)|(__builtin__|builtins) set|torch (\w+Storage|Size|device)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|torch (bool|bfloat16|float\w+|u?int\d+|complex\d+)|torch\.storage UntypedStorage"
)
_REMEDY = "save it again with torch.save(model.state_dict(), path), or as .safetensors"
_ZIP_ERRORS = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError)
_FOLDER = 0x10  # by this attribute torch takes a member for a folder, and leaves its tensor's memory as it finds it
_DEPTH = 3  # how deep state dicts are looked for in order to name them
_NAMED = 6


def read_checkpoint(path: Path, key: str | None = None, kind: Kind | None = None) -> dict[str, Tensor]:
    """The state dict in a `.safetensors`, `.pt` or `.pth` file; `key` names it in a `.pt` that holds more.

    `key` is dotted for nesting, as `state.model`; `kind` stands in for a suffix that does not tell. A `.pt` is opened
    with `weights_only=True` and never in a less safe way; its zip checksums are verified, and it must hold no
    compressed member and no tensor larger than the bytes behind it. Raises `ArtifactError`, naming the keys that do.
    """
    path = Path(path)
    if (kind or _kind_of(path)) == "safetensors":
        _refuse_key(path, key)
        return read_tensors(path)[0]
    _check_directory(path)
    _check_bytes(path)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; whatever it is, the file is refused
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path} is refused: {reason}", _REMEDY) from None
    return _checked_state(path, document if key is None else _part(path, document, key))


def inspect_checkpoint(path: Path, key: str | None = None, kind: Kind | None = None) -> dict[str, Tensor] | None:
    """Check what can be known without reading the tensors; a safetensors file's state dict without its bytes, or None.

    The tensors are on PyTorch's `meta` device: names, shapes and dtypes. Raises `ArtifactError`.
    """
    path = Path(path)
    if (kind or _kind_of(path)) != "safetensors":
        _check_directory(path)
        return None
    _refuse_key(path, key)
    entries = read_header(path).tensors.items()
    return {name: torch.empty(entry.shape, dtype=entry.dtype, device="meta") for name, entry in entries}


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """`state` with `prefix` taken off every name, as of `module.` of a parallel wrapper; as it is where none has it.

    Raises `LayoutMismatch` where only some names begin with it.
    """
    having = [name for name in state if name.startswith(prefix) and name != prefix]
    if not having or not prefix:
        return dict(state)
    if len(having) < len(state):
        odd = next(name for name in state if name not in having)
        raise LayoutMismatch(
            f"tensor {odd!r} does not begin with {prefix!r}, as {having[0]!r} does",
            "give a prefix that all tensors of a file have, or none",
        )
    return {name.removeprefix(prefix): value for name, value in state.items()}


def write_checkpoint(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as plain safetensors or as what `torch.load` reads, by the suffix of `path`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        write_tensors(path, state)
    elif path.suffix in TORCH_SUFFIXES:
        # Through memory: given a path, torch.save hides a full disk behind a RuntimeError and stores the path's name.
        buffer = io.BytesIO()
        torch.save({name: value.detach().cpu().contiguous() for name, value in state.items()}, buffer)
        write_bytes(path, buffer.getbuffer())
    else:
        raise ArtifactError(f"{path} has suffix {path.suffix!r}", f"use one of {', '.join(SUFFIXES)}")


def conform(state: Mapping[str, Tensor], layout: Layout) -> tuple[dict[str, Tensor], list[str]]:
    """Cast floating tensors of `state` to the dtypes of `layout`, and report each cast by name.

    Raises `LayoutMismatch` for a missing, extra or wrongly shaped tensor, or integers where floats are expected.
    """
    specs = {spec.name: spec for spec in layout.tensors}
    result, casts = dict(state), []
    for name, value in state.items():
        spec = specs.get(name)
        if spec is None or value.dtype == spec.torch_dtype:
            continue
        if not (value.is_floating_point() and spec.is_floating):
            raise LayoutMismatch(
                f"tensor {name!r} is {str(value.dtype).removeprefix('torch.')}, not {spec.dtype}",
                "convert it yourself if that is what was meant",
            )
        result[name] = value.to(spec.torch_dtype)
        casts.append(f"{name}: {str(value.dtype).removeprefix('torch.')} -> {spec.dtype}")
    layout.check(result)
    return result, casts


def _kind_of(path: Path) -> Kind:
    if path.suffix not in SUFFIXES:
        raise ArtifactError(f"{path} has suffix {path.suffix!r}", f"give a file that ends in {', '.join(SUFFIXES)}")
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def _refuse_key(path: Path, key: str | None) -> None:
    if key is not None:
        raise ArtifactError(
            f"{path} is a safetensors file, which is one state dict and has no part {key!r}",
            "leave the key out, or import such files apart",
        )


def _part(path: Path, document: Any, key: str) -> Any:
    """What stands in `document` at the dotted `key`; a key that itself holds dots is found, too."""
    part, rest = document, key
    while rest:
        if not isinstance(part, Mapping):
            break
        names = [name for name in part if isinstance(name, str) and (rest == name or rest.startswith(f"{name}."))]
        if not names:
            break
        name = max(names, key=len)
        part, rest = part[name], rest[len(name) + 1 :]
    if rest:
        raise ArtifactError(f"{path} holds nothing at key {key!r}", _key_remedy(document))
    return part


def _key_remedy(document: Any) -> str:
    found = _state_dicts(document, "", _DEPTH)
    return f"name the state dict in it: --key {' or --key '.join(found[:_NAMED])}" if found else _REMEDY


def _state_dicts(document: Any, path: str, depth: int) -> list[str]:
    """The dotted keys in `document` under which state dicts stand."""
    if not isinstance(document, Mapping):
        return []
    if path and document and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in document.items()):
        return [path]
    if depth == 0:
        return []
    children = [(f"{path}.{key}" if path else key, value) for key, value in document.items() if isinstance(key, str)]
    return [found for name, value in children for found in _state_dicts(value, name, depth - 1)]


def _check_directory(path: Path) -> None:
    """Refuse what `torch.load` would expand or read by another route than the zip format it writes today."""
    try:
        with path.open("rb") as file:
            begins_as_zip = file.read(4) == b"PK\x03\x04"  # by these torch decides; zipfile looks at the end only
        if not begins_as_zip or not zipfile.is_zipfile(path):
            raise ArtifactError(f"{path} is not a zip-format PyTorch file (empty, garbage, or of before 2020)", _REMEDY)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ArtifactError(f"{path} holds the compressed member {member.filename!r}", _REMEDY)
                if member.external_attr & _FOLDER or member.is_dir():
                    raise ArtifactError(f"{path} holds {member.filename!r} as a folder", _REMEDY)
                if member.filename.rpartition("/")[2] == "data.pkl":
                    _check_pickle(path, archive.read(member))
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ArtifactError(f"{path} holds members that share their bytes", _REMEDY)
    except _ZIP_ERRORS as error:
        raise ArtifactError(f"{path} cannot be read: {error}", "restore the file from a copy") from None


def _check_bytes(path: Path) -> None:
    """Check the checksum of every member."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except _ZIP_ERRORS as error:
        raise ArtifactError(f"{path} cannot be read: {error}", "restore the file from a copy") from None
    if damaged:
        raise ArtifactError(f"{path}: the checksum of {damaged!r} does not hold", "restore the file from a copy")


def _check_pickle(path: Path, data: bytes) -> None:
    """Refuse a pickle that names anything but what state dicts and plain containers are made of.

    `weights_only` runs no foreign code, but it calls `bytearray(n)` for any n, and so can be made to fill the memory.
    """
    for opcode, argument, _ in pickletools.genops(data):
        named = opcode.name in ("GLOBAL", "INST") and _PLAIN_GLOBAL.fullmatch(str(argument)) is None
        if named or opcode.name == "STACK_GLOBAL":
            raise ArtifactError(f"{path} names {str(argument or 'an object')!r}, which no state dict holds", _REMEDY)


def _checked_state(path: Path, document: Any) -> dict[str, Tensor]:
    if not isinstance(document, Mapping):
        raise ArtifactError(f"{path} holds a {type(document).__name__}, not a state dict", _REMEDY)
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            problem = f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor"
            raise ArtifactError(problem, _key_remedy(document))
        if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
            raise ArtifactError(f"{path}: tensor {name!r} is not a plain dense tensor", _REMEDY)
        expanded = value.numel() * value.element_size() > value.untyped_storage().nbytes()
        if expanded or any(n >= 2**31 for n in value.shape):
            raise ArtifactError(
                f"{path}: tensor {name!r} of shape {list(value.shape)} is larger than its bytes", _REMEDY
            )
    return dict(document)
