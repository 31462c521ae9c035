"""The target network of the note's section 2.1: 421,642 parameters on MNIST."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from weightsmith import Architecture, Layout
from weightsmith.errors import LayoutMismatch


class TargetCNN(nn.Sequential):
    """weightsmith's `target_cnn` with the initial weights that `seed` gives, for images `[channel, height, width]`."""

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        channels: Sequence[int] = (32, 64),
        fc: int = 128,
        *,
        seed: int = 0,
    ) -> None:
        options = {"channels1": channels[0], "channels2": channels[1], "hidden": fc}
        network = Architecture("target_cnn", tuple(input_shape), classes, options).build(seed)
        super().__init__(OrderedDict(network.named_children()))

    @classmethod
    def sized_as(
        cls, state: Mapping[str, Tensor], input_shape: Sequence[int], classes: int, *, seed: int = 0
    ) -> TargetCNN:
        """A network, newly initialised, whose layers are as wide as those of the state dict of another.

        Raises `LayoutMismatch` when `state` is no TargetCNN for such images and classes.
        """
        try:
            channels = [state["conv1.weight"].shape[0], state["conv2.weight"].shape[0]]
            fc = state["fc1.weight"].shape[0]
        except (KeyError, IndexError) as error:
            raise LayoutMismatch(
                f"not the weights of a TargetCNN: {error}", "give what train_target_model.py wrote"
            ) from None
        with torch.device("meta"):  # shapes only: a file must not choose how much memory is filled
            layout = Layout.of(cls(input_shape, classes, channels, fc))
        layout.check(state)
        return cls(input_shape, classes, channels, fc, seed=seed)
