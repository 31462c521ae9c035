"""A multilayer perceptron on flattened images."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU}


NORMS = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}


def build(
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (32, 32),
    activation: str = "relu",
    norm: str = "none",
) -> nn.Sequential:
    """`flatten - (fc_i - norm - activation) ... - fc_last`, one hidden layer for each width in `hidden`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    widths = [math.prod(input_shape), *hidden]
    for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
        layers[f"fc{i}"] = nn.Linear(inputs, outputs)
        if norm != "none":
            layers[f"norm{i}"] = NORMS[norm](outputs)
        layers[f"{activation}{i}"] = _ACTIVATIONS[activation]()
    layers[f"fc{len(widths)}"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(layers)
