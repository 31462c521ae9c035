"""One array of many networks, as the "Small CNN Zoo" of Unterthiner et al. (2020) is published.

`weights.npy` `[network, parameter]`; `layout.csv` with the columns `varname`, `start_idx`, `end_idx`, `size`, `shape`,
which says where each tensor lies in a row (see `parts`); `metrics.csv.gz` (or `metrics.csv`), line i of which is about
row i: the run is in `modeldir` (or `run`), the epoch in `step`, settings stand in columns `config.NAME`, and all other
numbers are metrics.

Unterthiner, Keysers, Gelly, Bousquet, Tolstikhin: "Predicting Neural Network Accuracy from Weights", arXiv:2002.11448;
the columns of the metrics by its README, github.com/google-research/google-research/tree/master/dnn_predict_accuracy,
those of the layout and the axes as read by github.com/AllanYangZhou/nfn (`experiments/data_utils.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout
from weightsmith.zoo.cells import read_count, run_from_text
from weightsmith.zoo.importing.sources.candidate import Candidate, Source, State, Unusable
from weightsmith.zoo.importing.sources.folder import inside
from weightsmith.zoo.importing.sources.npy import map_matrix
from weightsmith.zoo.importing.sources.parts import Part, read_parts
from weightsmith.zoo.importing.sources.table import Line, Table
from weightsmith.zoo.rows import RowInfo

WEIGHTS, LAYOUT, METRICS = "weights.npy", "layout.csv", ("metrics.csv", "metrics.csv.gz")
_SETTING = "config."
_RUNS = ("modeldir", "run")
_STEPS = ("step",)
_SEEDS = ("seed", "config.random_seed")
_REMEDY = "restore it from a copy"


@dataclass(frozen=True)
class ArrayCandidate:
    """One row of the array."""

    array: np.ndarray
    index: int
    parts: Sequence[Part]
    info: RowInfo
    layout: Layout | None = None

    @property
    def name(self) -> str:
        return f"{WEIGHTS}[{self.index}]"

    @property
    def size(self) -> int:
        return self.array[self.index].nbytes

    def inspect(self) -> State | None:
        return None

    def digest(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.array[self.index]).data).hexdigest()

    def read(self) -> State:
        row = self.array[self.index]
        row = row.astype(row.dtype.newbyteorder("="))
        return {
            part.name: torch.from_numpy(row[part.start : part.end].reshape(part.shape).transpose(part.axes).copy())
            for part in self.parts
        }


def is_array_zoo(folder: Path) -> bool:
    """Whether the files of such a zoo lie in `folder`."""
    return (folder / WEIGHTS).is_file() and (folder / LAYOUT).is_file()


def array_networks(folder: Path) -> Source:
    """The rows of `weights.npy`, which is mapped, not read. Raises `BadInput`, `ArtifactError` where files disagree."""
    if not is_array_zoo(folder):
        raise BadInput(f"{folder} does not hold {WEIGHTS} and {LAYOUT}", "give their folder, or another --layout")
    array = map_matrix(inside(folder, WEIGHTS))
    parts = read_parts(Table.open(inside(folder, LAYOUT)), array.shape[1])
    table = _metrics(folder, len(array))

    def candidates() -> Iterator[Candidate | Unusable]:
        lines: Iterator[Line | None] = iter(table) if table is not None else iter([None] * len(array))
        for index, line in enumerate(lines):
            try:
                info = RowInfo(index, 0, 0) if table is None or line is None else _info(table, line, index)
                yield ArrayCandidate(array, index, parts, info)
            except BadInput as error:
                yield Unusable(f"{WEIGHTS}[{index}]", error)

    return Source("arrays", folder, len(array), candidates)


def _metrics(folder: Path, networks: int) -> Table | None:
    path = next((inside(folder, name) for name in METRICS if (folder / name).is_file()), None)
    if path is None:
        return None
    table = Table.open(path, most=networks)
    if table.count != networks:
        raise ArtifactError(f"{path} has {table.count} lines for {networks} networks", "give the table of these arrays")
    return table


def _info(table: Table, line: Line, index: int) -> RowInfo:
    metrics, extra = table.facts(line, besides=[*_RUNS, *_STEPS, *_SEEDS])
    measured = {name: value for name, value in metrics.items() if not name.startswith(_SETTING)}
    settings = {name: value for name, value in metrics.items() if name.startswith(_SETTING)}
    facts: dict[str, Any] = {name.removeprefix(_SETTING): value for name, value in {**extra, **settings}.items()}
    run = _first(line, _RUNS)
    step, seed = (_count(table, line, names) for names in (_STEPS, _SEEDS))
    return RowInfo(run_from_text(run) if run else index, step, seed, measured, facts)


def _first(line: Line, columns: Sequence[str]) -> str:
    return next((line.cells[name] for name in columns if line.cells.get(name)), "")


def _count(table: Table, line: Line, columns: Sequence[str]) -> int:
    text = _first(line, columns)
    value = read_count(text) if text else 0
    if value is None or value < 0:
        raise ArtifactError(f"{table.path} line {line.number}: {columns[0]} {text!r} is not a whole number", _REMEDY)
    return value
