"""Contents: what a segment states of its networks, as one canonical text whose hash names the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.hashed import canonical_json, parse_json
from weightsmith.layout import Layout, Weights
from weightsmith.tensorfile import raw_bytes
from weightsmith.zoo.rows import Quarantined, RowInfo, check_row_json, quarantined_from_json, require_json

REMEDY = "restore the file from a copy, or remove it and build its networks again"


@dataclass(frozen=True)
class Contents:
    """What a segment states: its layout, what all rows share, each stored row, and the rows that were refused."""

    layout: Layout
    provenance: Mapping[str, Any]
    rows: list[dict[str, Any]]
    quarantined: list[Quarantined]

    @cached_property
    def text(self) -> str:
        """The one canonical JSON text of these contents."""
        return canonical_json(
            {
                "layout": self.layout.to_json(),
                "provenance": dict(self.provenance),
                "rows": self.rows,
                "quarantined": [vars(row) for row in self.quarantined],
            }
        )

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def parse(cls, text: str, where: str) -> Contents:
        """Read what `text` wrote. Raises `ArtifactError` naming `where`."""
        document = parse_json(text, f"segment metadata of {where}")
        keys = ("layout", "provenance", "rows", "quarantined")
        types = {"layout": list, "provenance": dict, "rows": list, "quarantined": list}
        if not isinstance(document, dict) or {k: type(v) for k, v in document.items()} != types:
            raise ArtifactError(f"segment metadata of {where} does not hold exactly {', '.join(keys)}", REMEDY)
        for row in document["rows"]:
            check_row_json(row, where)
        refused = [quarantined_from_json(entry, where) for entry in document["quarantined"]]
        try:
            layout = Layout.from_json(document["layout"])
        except LayoutMismatch as error:
            raise ArtifactError(f"{where}: {error.message}", REMEDY) from None
        return cls(layout, document["provenance"], document["rows"], refused)


def contents_of(
    weights: Weights, rows: Sequence[RowInfo], provenance: Mapping[str, Any]
) -> tuple[Contents, dict[str, Tensor]]:
    """Describe networks to be sealed, `[batch, parameters]`, and give the file's tensors; NaN rows are set aside.

    Raises `BadInput` when the rows do not match the weights and `LayoutMismatch` for a wrong dtype or shape.
    """
    _check(weights, rows)
    require_json(provenance, "provenance")
    finite = weights.finite()
    keep = [i for i in range(len(rows)) if bool(finite[i])]
    refused = [Quarantined(row.run, row.step, _reason(weights, i)) for i, row in enumerate(rows) if not bool(finite[i])]
    kept = weights[keep] if refused else weights
    tensors = {"weights": kept.vectors.detach().cpu().contiguous()}
    for spec in weights.layout.integer:
        tensors[f"integer.{spec.name}"] = kept.integers[spec.name].detach().cpu().contiguous()
    described = [
        {**rows[i].to_json(), "sha256": row_sha256([raw_bytes(tensor[j]) for tensor in tensors.values()])}
        for j, i in enumerate(keep)
    ]
    return Contents(weights.layout, dict(provenance), described, refused), tensors


def _check(weights: Weights, rows: Sequence[RowInfo]) -> None:
    layout = weights.layout
    if not rows or len(rows) != len(weights):
        raise BadInput(f"{len(rows)} rows describe {len(weights)} networks", "give one row a network, at least one")
    expected: dict[str, tuple[Tensor, torch.dtype, tuple[int, ...]]] = {}
    expected["vectors"] = (weights.vectors, layout.dtype, (layout.parameters,))
    for spec in layout.integer:
        if spec.name not in weights.integers:
            raise LayoutMismatch(f"integer tensor {spec.name!r} is missing", "flatten the networks with their layout")
        expected[spec.name] = (weights.integers[spec.name], spec.torch_dtype, spec.shape)
    for name, (value, dtype, shape) in expected.items():
        if value.dtype != dtype or tuple(value.shape) != (len(rows), *shape):
            raise LayoutMismatch(
                f"{name} are {value.dtype}{list(value.shape)}, not {dtype}{[len(rows), *shape]}",
                "convert them to the layout's dtype and shape, knowingly, before they are stored",
            )


def _reason(weights: Weights, row: int) -> str:
    vector = weights.vectors[row]
    for name, (start, end) in weights.layout.offsets.items():
        part = vector[start:end]
        nans, infinities = int(part.isnan().sum()), int(part.isinf().sum())
        if nans or infinities:
            return f"tensor {name!r} holds {nans} NaN and {infinities} infinite values"
    raise AssertionError("a row without NaN and infinity was to be refused")


def row_sha256(parts: Sequence[memoryview]) -> str:
    """The hash of one network: its part of `weights`, then of each integer tensor in the layout's order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
