"""The exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def decay_of(decay: float, update: int) -> float:
    """The decay at update u = 1, 2, ...: `min(decay, (1 + u) / (10 + u))`, so that the start is soon forgotten."""
    return min(decay, (1 + update) / (10 + update))


class WeightAverage:
    """`a_u = d_u a_{u-1} + (1 - d_u) w_u` with `a_0 = w_0` and `d_u` of `decay_of`; `w` are the trained parameters.

    Frozen parameters and buffers are not averaged: the network's own stand beside the averages.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._decay, self._weights = decay, list(trained.values())
        self.tensors = {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def note(self, update: int) -> None:
        """Take in the weights as they are after update 1, 2, ..."""
        if self._weights:
            weight = 1 - decay_of(self._decay, update)
            torch._foreach_lerp_(list(self.tensors.values()), [w.detach() for w in self._weights], weight)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
