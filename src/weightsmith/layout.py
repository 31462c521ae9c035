"""Layout: the ordered names, shapes, dtypes and roles of a network's tensors; Weights: many networks of one layout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from weightsmith.errors import LayoutMismatch
from weightsmith.hashed import fingerprint

Role = Literal["weight", "bias", "norm", "buffer"]
ROLES: tuple[Role, ...] = ("weight", "bias", "norm", "buffer")
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a network: its name in the state dict, shape, dtype (as in `torch.float32`) and role."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def is_floating(self) -> bool:
        return self.torch_dtype.is_floating_point


@dataclass(frozen=True)
class Layout:
    """Ordered tensor specifications; turns state dicts into vectors `[batch, parameters]` and back, bitwise.

    Floating-point tensors are concatenated, row-major, in order. Others (counters, masks) travel beside the vector.
    """

    tensors: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a live module's state dict."""
        norms = tuple(name for name, child in module.named_modules() if isinstance(child, _NORMS))
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}

        def role(name: str) -> Role:
            if name not in parameters:
                return "buffer"
            if name.rpartition(".")[0] in norms:
                return "norm"
            return "bias" if name.endswith("bias") else "weight"

        return cls(
            tuple(
                TensorSpec(name, tuple(value.shape), _dtype_name(value.dtype), role(name))
                for name, value in module.state_dict().items()
            )
        )

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> Layout:
        """Read what `to_json` wrote. Raises `LayoutMismatch` when an entry is not a tensor specification."""
        return cls(tuple(_spec_from_json(entry) for entry in document))

    def to_json(self) -> list[dict[str, Any]]:
        return [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "role": t.role} for t in self.tensors]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, shapes, dtypes and roles."""
        return fingerprint(self.to_json())

    @cached_property
    def floating(self) -> tuple[TensorSpec, ...]:
        return tuple(spec for spec in self.tensors if spec.is_floating)

    @cached_property
    def integer(self) -> tuple[TensorSpec, ...]:
        return tuple(spec for spec in self.tensors if not spec.is_floating)

    @cached_property
    def parameters(self) -> int:
        """Length of the vector: the number of floating-point values."""
        return sum(spec.numel for spec in self.floating)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The vector's dtype: the widest of the layout's floating dtypes, at least float32, so that nothing is lost."""
        return torch.float64 if any(spec.dtype == "float64" for spec in self.floating) else torch.float32

    @cached_property
    def offsets(self) -> dict[str, tuple[int, int]]:
        """Where each floating tensor lies in the vector: name -> (start, end)."""
        result, start = {}, 0
        for spec in self.floating:
            result[spec.name] = (start, start + spec.numel)
            start += spec.numel
        return result

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Raise `LayoutMismatch` naming the first tensor of `state` that differs from this layout."""
        for spec in self.tensors:
            if spec.name not in state:
                raise LayoutMismatch(f"tensor {spec.name!r} is missing", "give a checkpoint of the same architecture")
            value = state[spec.name]
            found = TensorSpec(spec.name, tuple(value.shape), _dtype_name(value.dtype), spec.role)
            if found != spec:
                raise LayoutMismatch(
                    f"tensor {spec.name!r} is {found.dtype}{list(found.shape)}, not {spec.dtype}{list(spec.shape)}",
                    "give a checkpoint of the same architecture and dtype",
                )
        extra = next((name for name in state if name not in {spec.name for spec in self.tensors}), None)
        if extra is not None:
            raise LayoutMismatch(f"tensor {extra!r} is not in the layout", "give a checkpoint of the same architecture")

    def require_same(self, other: Layout, what: str) -> None:
        """Raise `LayoutMismatch` naming the first tensor in which `other` (of `what`) differs from this layout."""
        if self == other:
            return
        for mine, theirs in zip(self.tensors, other.tensors, strict=False):
            if mine != theirs:
                raise LayoutMismatch(
                    f"{what}: tensor {theirs.name!r} {theirs.dtype}{list(theirs.shape)} stands where "
                    f"{mine.name!r} {mine.dtype}{list(mine.shape)} is expected",
                    "use weights of the architecture that this was made for",
                )
        longer = max(self, other, key=lambda layout: len(layout.tensors))
        name = longer.tensors[min(len(self.tensors), len(other.tensors))].name
        raise LayoutMismatch(
            f"{what}: tensor {name!r} is in one layout only", "use weights of the architecture this was made for"
        )

    def flatten(self, states: Sequence[Mapping[str, Tensor]]) -> Weights:
        """Stack state dicts of this layout into one `Weights`; raises `LayoutMismatch` if one does not fit."""
        for state in states:
            self.check(state)
        rows = [self._row(state) for state in states]
        vectors = torch.stack(rows) if rows else torch.empty(0, self.parameters, dtype=self.dtype)
        integers = {t.name: torch.stack([state[t.name].detach() for state in states]) for t in self.integer if states}
        return Weights(self, vectors, integers)

    def _row(self, state: Mapping[str, Tensor]) -> Tensor:
        parts = [state[spec.name].detach().reshape(-1).to(self.dtype) for spec in self.floating]
        return torch.cat(parts) if parts else torch.empty(0, dtype=self.dtype)


@dataclass(frozen=True)
class Weights:
    """The weights of `batch` networks of one layout: vectors `[batch, parameters]`, integer tensors beside them."""

    layout: Layout
    vectors: Shaped[Tensor, "batch parameters"]
    integers: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.layout.parameters:
            raise LayoutMismatch(
                f"vectors have shape {list(self.vectors.shape)}, not [batch, {self.layout.parameters}]",
                "flatten the networks with their own layout",
            )

    @classmethod
    def of(cls, *modules: nn.Module) -> Weights:
        """The weights of live modules of one layout."""
        return Layout.of(modules[0]).flatten([module.state_dict() for module in modules])

    @classmethod
    def generated(cls, layout: Layout, vectors: Tensor) -> Weights:
        """Networks from vectors alone: counters start at zero."""
        batch, device = vectors.shape[0], vectors.device
        zeros = {t.name: torch.zeros(batch, *t.shape, dtype=t.torch_dtype, device=device) for t in layout.integer}
        return cls(layout, vectors, zeros)

    @classmethod
    def concatenate(cls, parts: Sequence[Weights]) -> Weights:
        """Join batches of one layout. Raises `LayoutMismatch` if the layouts differ."""
        layout = parts[0].layout
        for part in parts[1:]:
            layout.require_same(part.layout, "networks to join")
        integers = {t.name: torch.cat([part.integers[t.name] for part in parts]) for t in layout.integer}
        return cls(layout, torch.cat([part.vectors for part in parts]), integers)

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int]) -> Weights:
        """Networks by position; always a batch, also for one."""
        rows = [index] if isinstance(index, int) else index
        return Weights(self.layout, self.vectors[rows], {name: value[rows] for name, value in self.integers.items()})

    def __iter__(self) -> Iterator[Weights]:
        return (self[i] for i in range(len(self)))

    def stacked(self) -> dict[str, Tensor]:
        """Every tensor with a leading batch dimension, `[batch, *shape]`; differentiable in the vectors."""
        result = {}
        for spec in self.layout.tensors:
            if spec.is_floating:
                start, end = self.layout.offsets[spec.name]
                values = self.vectors[:, start:end].reshape(len(self), *spec.shape)
                result[spec.name] = values.to(spec.torch_dtype)
            else:
                result[spec.name] = self.integers[spec.name]
        return result

    def states(self) -> list[dict[str, Tensor]]:
        """One state dict a network: what `flatten` was given, bitwise."""
        stacked = self.stacked()
        return [{name: value[i].clone() for name, value in stacked.items()} for i in range(len(self))]

    def replace(self, vectors: Tensor) -> Weights:
        """The same integer tensors beside other vectors."""
        return Weights(self.layout, vectors, self.integers)

    def to(self, device: torch.device | str) -> Weights:
        return Weights(self.layout, self.vectors.to(device), {k: v.to(device) for k, v in self.integers.items()})

    def finite(self) -> Shaped[Tensor, " batch"]:
        """Which networks hold neither NaN nor infinity."""
        return torch.isfinite(self.vectors).all(dim=1)


def layers_of(layout: Layout) -> list[str]:
    """The layers of a network, in order: what its tensors are called up to the last dot."""
    return list(dict.fromkeys(spec.name.rpartition(".")[0] or spec.name for spec in layout.tensors))


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _spec_from_json(entry: Any) -> TensorSpec:
    try:
        name, shape, dtype, role = (entry[key] for key in ("name", "shape", "dtype", "role"))
    except (KeyError, TypeError):
        raise LayoutMismatch(f"layout entry {entry!r} lacks name, shape, dtype or role", "restore the file") from None
    sizes_hold = isinstance(shape, list) and all(isinstance(n, int) and 0 <= n < 2**48 for n in shape)
    if not isinstance(name, str) or not sizes_hold or math.prod(shape) >= 2**48 or role not in ROLES:
        raise LayoutMismatch(f"layout entry {entry!r} is not a tensor specification", "restore the file")
    if not isinstance(dtype, str) or not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise LayoutMismatch(f"tensor {name!r} has unknown dtype {dtype!r}", "use a dtype that PyTorch names")
    return TensorSpec(name, tuple(shape), dtype, role)
