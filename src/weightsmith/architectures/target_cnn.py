"""The note's target network: two 3x3 convolutions with pooling, two linear layers; 421,642 parameters on MNIST."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


def build(
    input_shape: Sequence[int], classes: int, channels1: int = 32, channels2: int = 64, hidden: int = 128
) -> nn.Sequential:
    """`conv1 relu pool conv2 relu pool flatten fc1 relu fc2` for images `[channel, height, width]`."""
    channels, height, width = input_shape
    features = channels2 * (height // 4) * (width // 4)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, channels1, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(channels1, channels2, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(features, hidden),
            relu3=nn.ReLU(),
            fc2=nn.Linear(hidden, classes),
        )
    )
