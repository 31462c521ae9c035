"""Arrangement: the same network with its layers in the order that computes it fastest."""

from __future__ import annotations

from torch import nn

from weightsmith.ensemble.chain import has_hooks


def arranged(module: nn.Module) -> nn.Module:
    """A network that shares the module's parameters, with max pooling before a ReLU that it followed.

    `pool(relu(x)) = relu(pool(x))`, to the last bit and with the same gradients, and a 2x2 pooling leaves a quarter of
    the values to the ReLU. Only the layers of plain `nn.Sequential` chains are moved; any other module is given back.
    """
    if type(module) is not nn.Sequential or has_hooks(module) or any(has_hooks(layer) for layer in module):
        return module
    layers = list(module)
    for i, following in enumerate(layers[1:]):
        if type(layers[i]) is nn.ReLU and type(following) is nn.MaxPool2d and not following.return_indices:
            layers[i], layers[i + 1] = following, layers[i]
    return nn.Sequential(*layers) if layers != list(module) else module
