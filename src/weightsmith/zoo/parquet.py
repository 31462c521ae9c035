"""A zoo as Parquet tables: a line a network, its weights as one column; written a few networks at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.files import replacing, require_writable_folder, sweep_leftovers
from weightsmith.hashed import canonical_json
from weightsmith.layout import Layout, Weights
from weightsmith.zoo.cells import run_to_text
from weightsmith.zoo.columns import Column, columns_of
from weightsmith.zoo.export import Readable, require_ours
from weightsmith.zoo.rows import Row

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
GROUP_BYTES = 32_000_000  # of weights in memory, and in one row group
WEIGHTS = "weights"
RUN = Column("run", "own", "run")
_OWN = (RUN, *(Column(name, "own", name) for name in ("step", "seed", "layout", "sha256")))


def write_parquet(zoo: Readable, path: Path, rows: Sequence[Row]) -> list[Path]:
    """Write a table of `rows`: run, step, seed, layout, sha256, metrics, plain values of `extra`, and the weights.

    `weights` is a list of the layout's floating-point values, row-major, tensor after tensor; each tensor that is not
    floating-point has a column `integer.NAME`. The layout stands in the file's metadata under `weightsmith.layout`.
    Runs are numbers where all are; else text, in which digits are a number and a name of digits stands in quotes.
    `path` is the file where it ends in `.parquet`, else the folder of `networks.parquet`, or, where the rows are of
    several layouts, of `networks-FINGERPRINT.parquet` for each. Raises `BadInput` for no rows, several layouts in one
    file, or a folder that holds other files, and `EnvironmentFault` where pyarrow is missing.
    """
    _require_pyarrow()
    if not rows:
        raise BadInput("no networks to export", "give a zoo, or a --where, that has some")
    groups = {name: [row for row in rows if row.layout == name] for name in dict.fromkeys(row.layout for row in rows)}
    layouts = zoo.layouts
    columns = columns_of(rows, _OWN, [name for key in groups for name, _, _ in _tensor_columns(layouts[key])])
    typings = [_typing(column, [column.value(row) for row in rows]) for column in columns]  # one for all files
    files = _files(path, list(groups))
    for file, (name, group) in zip(files, groups.items(), strict=True):
        _write(zoo, file, layouts[name], group, list(zip(columns, typings, strict=True)))
    return files


def _files(path: Path, layouts: list[str]) -> list[Path]:
    if path.suffix == SUFFIX:
        if len(layouts) > 1:
            raise BadInput(
                f"the networks have {len(layouts)} layouts, and one table holds vectors of one length",
                f"""give a folder, or choose by --where "layout = '{layouts[0]}'\"""",
            )
        require_writable_folder(path.absolute().parent)
        sweep_leftovers(path.absolute().parent)
        return [path]
    names = [f"networks{SUFFIX}"] if len(layouts) == 1 else [f"networks-{name[:16]}{SUFFIX}" for name in layouts]
    require_ours(path, set(names))
    return [path / name for name in names]


def _write(
    zoo: Readable, file: Path, layout: Layout, rows: Sequence[Row], columns: Sequence[tuple[Column, _Typing]]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {column.name: (typing.kind, [typing.of(column.value(row)) for row in rows]) for column, typing in columns}
    tensors = [
        pa.field(name, pa.list_(_arrow_type(dtype), size), nullable=False)
        for name, dtype, size in _tensor_columns(layout)
    ]
    fields = [pa.field(name, kind) for name, (kind, _) in facts.items()]
    schema = pa.schema(fields + tensors, metadata={"weightsmith.layout": canonical_json(layout.to_json())})
    texts = [name for name, (kind, _) in facts.items() if kind == pa.string()]
    size = max(1, GROUP_BYTES // max(1, layout.parameters * layout.dtype.itemsize))
    with replacing(file) as temporary, pq.ParquetWriter(temporary, schema, use_dictionary=texts) as writer:
        for start in range(0, len(rows), size):
            arrays = [pa.array(values[start : start + size], kind) for kind, values in facts.values()]
            arrays += [_array(tensor) for tensor in _tensors(zoo.read(rows[start : start + size]))]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _tensor_columns(layout: Layout) -> list[tuple[str, str, int]]:
    """Name, dtype and length of the columns that hold tensors."""
    integers = [(f"integer.{spec.name}", spec.dtype, spec.numel) for spec in layout.integer]
    return [(WEIGHTS, str(layout.dtype).removeprefix("torch."), layout.parameters), *integers]


def _tensors(weights: Weights) -> list[Tensor]:
    return [weights.vectors, *(weights.integers[spec.name] for spec in weights.layout.integer)]


def _array(tensor: Tensor) -> pyarrow.Array:
    """A tensor `[row, ...]` as one list of a fixed size a row, its values not copied."""
    import pyarrow as pa

    flat = tensor.reshape(len(tensor), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1).numpy()), flat.shape[1])


def _arrow_type(dtype: str) -> pyarrow.DataType:
    import pyarrow as pa

    return {"float32": pa.float32(), "float64": pa.float64()}.get(dtype) or pa.type_for_alias(dtype)


@dataclass(frozen=True)
class _Typing:
    """The type of a column, and how a value is written in it; what is not stated stays so."""

    kind: pyarrow.DataType
    convert: Callable[[Any], Any]

    def of(self, value: Any) -> Any:
        return None if value is None else self.convert(value)


def _typing(column: Column, values: list[Any]) -> _Typing:
    """The type that holds all of these: JSON text where they are of several kinds, a number where none is stated."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if column == RUN and kinds != {int}:
        return _Typing(pa.string(), run_to_text)
    for kind, arrow in ((bool, pa.bool_()), (int, pa.int64()), (str, pa.string())):
        if kinds == {kind}:
            return _Typing(arrow, kind)
    if kinds <= {int, float}:
        return _Typing(pa.float64(), float)
    return _Typing(pa.string(), json.dumps)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise EnvironmentFault(
            "a Parquet table cannot be written: pyarrow is not installed", "pip install 'weightsmith[tables]'"
        ) from None
