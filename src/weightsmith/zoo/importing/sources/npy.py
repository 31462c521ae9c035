"""NumPy's .npy file of numbers: its header checked claim by claim, its data mapped; nothing in it is ever unpickled.

The format is NumPy enhancement proposal 1 (numpy.lib.format): magic, version, length of the header, a Python literal
`{'descr', 'fortran_order', 'shape'}`, data. NumPy's own reader raises what its tokenizer raises on a damaged header.
"""

from __future__ import annotations

import ast
import math
import struct
from pathlib import Path

import numpy as np

from weightsmith.errors import ArtifactError

_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}
_MAX_HEADER = 10_000
_DTYPES = {f"{order}f{size}" for order in "<>" for size in (2, 4, 8)}
_REMEDY = "restore it from a copy, or save it again with numpy.save"


def map_matrix(path: Path) -> np.ndarray:
    """A file of floating-point numbers `[row, column]`, mapped and not read. Raises `ArtifactError`."""
    try:
        with path.open("rb") as file:
            prefix = file.read(12)
            form = _LENGTHS.get(prefix[6]) if prefix[:6] == _MAGIC and len(prefix) == 12 else None
            if form is None:
                raise ArtifactError(f"{path} is not a .npy file", _REMEDY)
            start = 8 + struct.calcsize(form)
            length = struct.unpack(form, prefix[8:start])[0]
            file.seek(start)
            text = file.read(min(length, _MAX_HEADER + 1))
            size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "check the path") from None
    dtype, fortran, shape = _stated(path, text if length <= _MAX_HEADER else b"")
    offset = start + length
    if offset + math.prod(shape) * dtype.itemsize != size:
        raise ArtifactError(f"{path} has {size} bytes, and its header states {list(shape)} {dtype}", _REMEDY)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def _stated(path: Path, header: bytes) -> tuple[np.dtype, bool, tuple[int, int]]:
    try:
        stated = ast.literal_eval(header.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ArtifactError(f"{path} has a damaged header", _REMEDY) from None
    if not isinstance(stated, dict) or set(stated) != {"descr", "fortran_order", "shape"}:
        raise ArtifactError(f"{path} has a damaged header", _REMEDY)
    descr, fortran, shape = stated["descr"], stated["fortran_order"], stated["shape"]
    sizes = isinstance(shape, tuple) and len(shape) == 2 and all(type(n) is int and 0 < n < 2**48 for n in shape)
    if descr not in _DTYPES or type(fortran) is not bool or not sizes:
        found = f"{str(descr)[:40]} {str(shape)[:80]}"
        raise ArtifactError(f"{path} holds {found}, not floating-point numbers [network, parameter]", _REMEDY)
    return np.dtype(descr), fortran, shape
