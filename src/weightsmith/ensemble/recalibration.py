"""Recalibration: the running statistics of normalisation layers, measured anew for networks that were generated."""

from __future__ import annotations

import copy

import torch
from torch import nn

from weightsmith.datasets import Split
from weightsmith.layout import Weights

IMAGES = 10_000
BATCH = 500


def recalibrated(
    module: nn.Module, weights: Weights, split: Split, *, images: int = IMAGES, device: torch.device | str = "cpu"
) -> Weights:
    """The same networks with the running mean and variance that their own activations have on *training* images.

    The statistics are plain averages over batches of 500 of the first `images` images (PyTorch's `momentum=None`), as
    after training with these weights. Give the training split: test images must not shape what is tested. Weights of
    a form without running statistics are given back as they are.
    """
    if not has_running_statistics(module):
        return weights
    inputs = split.images[:images].to(device)
    return weights.layout.flatten([_recalibrated_state(module, one, inputs, device) for one in weights])


def has_running_statistics(module: nn.Module) -> bool:
    """Whether there is a normalisation layer that keeps the mean and variance of what it has seen."""
    return any(_tracks(layer) for layer in module.modules())


def _recalibrated_state(
    module: nn.Module, network: Weights, inputs: torch.Tensor, device: torch.device | str
) -> dict[str, torch.Tensor]:
    own = copy.deepcopy(module).to(device).eval()  # dropout stays off; only the normalisation layers learn
    own.load_state_dict(network.states()[0])
    for layer in own.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase) and _tracks(layer):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            own(batch)
    return {name: value.cpu() for name, value in own.state_dict().items()}


def _tracks(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._NormBase) and layer.running_mean is not None
