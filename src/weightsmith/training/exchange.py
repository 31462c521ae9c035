"""Other weights in a network for a while, and a network in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def named_values(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, tied ones once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


@contextmanager
def exchanged(network: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the named parameters and buffers are `values`, without a copy; after it, bitwise what they were."""
    held = named_values(network)
    own = {name: held[name].data for name in values}
    try:
        for name, value in values.items():
            held[name].data = value
        yield
    finally:
        for name, value in own.items():
            held[name].data = value


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, every module is in evaluation mode and the global randomness is free to use; after it, both as before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with kept_randomness(network):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def kept_randomness(network: nn.Module) -> Iterator[None]:
    """The global random state of the CPU and of the network's device is afterwards what it was."""
    device = device_of(network)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_randomness(device: torch.device, seed: int) -> None:
    """Seed the global random state of the CPU and of `device`, from which layers such as dropout draw."""
    # Not torch.manual_seed: it writes down the stack for devices that are not there, 0.6 ms a call.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def device_of(network: nn.Module) -> torch.device:
    """Where the network lies; the CPU for one without parameters."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
