"""The machine: which device and which precision there is to compute with, and how images and networks are placed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightsmith.errors import BadInput

Precision = Literal["bf16", "fp32"]


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU when there is one. Raises `BadInput` for a device that this machine lacks."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available.get(name, False):
        raise BadInput(f"device={name} is not on this machine", f"use device=auto or one of {_having(available)}")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bfloat16 where the processor multiplies it natively, else float32."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16() else "fp32"


def dtype_of(precision: Precision) -> torch.dtype:
    """The dtype in which products are taken."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Products in the precision; weights and their gradients stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def placed_images(
    images: Float[Tensor, "image channel height width"], precision: Precision, device: torch.device
) -> Float[Tensor, "image channel height width"]:
    """All images on the device, in the precision and memory order that the layers want: once, not once a batch."""
    return images.to(device, dtype_of(precision)).contiguous(memory_format=torch.channels_last)


def placed_module(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on the device, its convolutions channels-last, in place."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs


def _cpu_has_bf16() -> bool:
    """Native bfloat16 products (AVX-512 BF16 or AMX); emulated ones are slower than float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _having(available: Mapping[str, bool]) -> str:
    return ", ".join(name for name, there in available.items() if there)
