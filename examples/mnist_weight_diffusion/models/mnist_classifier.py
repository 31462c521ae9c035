"""The classifiers whose weights are generated: a CNN, the note's default, and a multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from weightsmith import Architecture


class MNISTCNN(nn.Sequential):
    """Two 3x3 convolutions, each with ReLU and 2x2 max pooling, then two linear layers.

    For images `[image, channel, height, width]`; `seed` gives the initial weights.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        channels1: int = 16,
        channels2: int = 32,
        hidden: int = 64,
        *,
        seed: int = 0,
    ) -> None:
        options = {"channels1": channels1, "channels2": channels2, "hidden": hidden}
        super().__init__(_layers("target_cnn", input_shape, classes, options, seed))


class MNISTMLP(nn.Sequential):
    """Linear layers on flattened images with an activation between them; `seed` gives the initial weights."""

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        hidden: Sequence[int] = (128, 64),
        activation: str = "relu",
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(_layers("mlp", input_shape, classes, {"hidden": list(hidden), "activation": activation}, seed))


CLASSIFIERS: Mapping[str, type[nn.Sequential]] = {"cnn": MNISTCNN, "mlp": MNISTMLP}


def _layers(
    name: str, input_shape: Sequence[int], classes: int, options: Mapping[str, Any], seed: int
) -> OrderedDict[str, nn.Module]:
    return OrderedDict(Architecture(name, tuple(input_shape), classes, options).build(seed).named_children())
