"""Parts: which tensors a row of an array is made of, by a table; Keras's names and axes become PyTorch's.

`sequential/conv2d_1/kernel:0` `[height, width, in, out]` is `conv2d_1.weight` `[out, in, height, width]`, and
`sequential/dense/kernel:0` `[in, out]` is `dense.weight` `[out, in]`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from weightsmith.errors import ArtifactError
from weightsmith.zoo.cells import read_count
from weightsmith.zoo.importing.sources.table import Line, Table

_COLUMNS = ("varname", "start_idx", "end_idx", "size", "shape")
_RANKS = 16
_REMEDY = "restore it from a copy"


@dataclass(frozen=True)
class Part:
    """Where one tensor lies in a row, its shape there, and the order of axes and the name that it gets."""

    start: int
    end: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    name: str


def read_parts(table: Table, width: int) -> list[Part]:
    """The tensors that a table states, which must cover `width` parameters exactly. Raises `ArtifactError`."""
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ArtifactError(f"{table.path} has no column {missing[0]!r}", f"name {', '.join(_COLUMNS)}")
    lines = list(table)
    common = _common_start([line.cells["varname"] for line in lines])
    parts = sorted((_part(table, line, common) for line in lines), key=lambda part: part.start)
    expected = 0
    for part in parts:
        if part.start != expected:
            raise ArtifactError(f"{table.path}: tensor {part.name!r} overlaps others or leaves a hole", _REMEDY)
        expected = part.end
    twice = next((name for name, count in Counter(part.name for part in parts).items() if count > 1), None)
    if expected != width or twice is not None:
        problem = f"names {twice!r} twice" if twice is not None else f"states {expected} parameters, not {width}"
        raise ArtifactError(f"{table.path} {problem}", "give the layout that belongs to the array")
    return parts


def _part(table: Table, line: Line, common: str) -> Part:
    name, shape = line.cells["varname"], _shape(line.cells["shape"])
    start, end, size = (read_count(line.cells[column]) for column in ("start_idx", "end_idx", "size"))
    if not name or shape is None or start is None or end is None or start < 0:
        raise _bad(table, line)
    if not math.prod(shape) == end - start == size:
        raise _bad(table, line)
    return Part(start, end, shape, *_in_pytorch(name.removeprefix(common), len(shape)))


def _bad(table: Table, line: Line) -> ArtifactError:
    return ArtifactError(f"{table.path} line {line.number} is not a tensor: {dict(line.cells)}", _REMEDY)


def _shape(text: str) -> tuple[int, ...] | None:
    """A shape as Python writes it, `(3, 3, 1, 16)` or `(16,)`."""
    if text[:1] + text[-1:] not in ("()", "[]"):
        return None
    sizes = [read_count(size.strip()) for size in text[1:-1].removesuffix(",").split(",") if text[1:-1].strip()]
    bad = len(sizes) > _RANKS or any(size is None or size < 0 for size in sizes)
    return None if bad else tuple(size or 0 for size in sizes)


def _in_pytorch(name: str, rank: int) -> tuple[tuple[int, ...], str]:
    """The order of axes and the name that PyTorch has for a tensor; any name that is not Keras's stays as it is."""
    path, _, last = name.rpartition("/")
    layer = path.replace("/", ".")
    if last == "kernel:0" and rank >= 2:  # Keras: [*space, in, out]; PyTorch: [out, in, *space]
        return (rank - 1, rank - 2, *range(rank - 2)), f"{layer}.weight".removeprefix(".")
    plain = name.replace("/", ".").removesuffix(":0")
    return tuple(range(rank)), plain


def _common_start(names: Sequence[str]) -> str:
    """The name of the model that all names begin with, as `sequential/`, where each has more parts after it."""
    starts = {name.split("/")[0] for name in names}
    return f"{starts.pop()}/" if len(starts) == 1 and all(name.count("/") > 1 for name in names) else ""
