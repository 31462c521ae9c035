"""Chain: a multilayer perceptron read off a module, so that many of them can be computed as stacked products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_POINTWISE = (nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Identity)


@dataclass(frozen=True)
class Link:
    """One linear layer, by name, and what is applied to its inputs, in order."""

    name: str
    has_bias: bool
    before: Sequence[Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Chain:
    """`flatten - linear - pointwise - linear ...` of one form, for many networks at once."""

    links: Sequence[Link]
    after: Sequence[Callable[[Tensor], Tensor]]

    @classmethod
    def of(cls, module: nn.Module) -> Chain | None:
        """The chain that a module is, or `None` for one that does anything else."""
        if type(module) is not nn.Sequential or has_hooks(module):
            return None
        links: list[Link] = []
        pending: list[Callable[[Tensor], Tensor]] = []
        flat = False
        for name, layer in module._modules.items():
            if layer is None or has_hooks(layer):
                return None
            if type(layer) is nn.Flatten and not links and (layer.start_dim, layer.end_dim) == (1, -1):
                flat = True
            elif type(layer) is nn.Linear and layer.weight.dtype == torch.float32:
                links.append(Link(name, layer.bias is not None, tuple(pending)))
                pending = []
            elif type(layer) in _POINTWISE and links:
                pending.append(_out_of_place(layer))
            else:
                return None
        whole = len({id(value) for value in module.state_dict(keep_vars=True).values()}) == len(module.state_dict())
        return cls(tuple(links), tuple(pending)) if links and flat and whole else None

    def logits(
        self, tensors: Mapping[str, Tensor], inputs: Float[Tensor, "... feature image"]
    ) -> Float[Tensor, "network class image"]:
        """Outputs of every network, from tensors `[network, *shape]`.

        Inputs are `[feature, image]`, which all networks read (the first layer is then one product), or
        `[network, feature, image]`. Images come last, so that what is done to each value, and the softmax over few
        classes, runs along memory: many times faster than with classes last.
        """
        hidden = inputs
        for link in self.links:
            for function in link.before:
                hidden = function(hidden)
            bias = tensors[f"{link.name}.bias"].unsqueeze(2) if link.has_bias else None
            hidden = _linear(hidden, tensors[f"{link.name}.weight"], bias)
        for function in self.after:
            hidden = function(hidden)
        return hidden


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`[network, output, image]` from weights `[network, output, input]`."""
    if inputs.ndim == 2:
        result = torch.mm(weight.flatten(0, 1), inputs).unflatten(0, weight.shape[:2])
        return result if bias is None else result.add_(bias)
    return torch.bmm(weight, inputs) if bias is None else torch.baddbmm(bias, weight, inputs)


def _out_of_place(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The layer's function; one that would overwrite its inputs is made to leave them, where gradients need them."""
    if isinstance(layer, nn.ReLU):
        return _relu
    if getattr(layer, "inplace", False):
        options = {name: getattr(layer, name) for name in ("negative_slope", "alpha") if hasattr(layer, name)}
        return type(layer)(**options)
    return layer


def _relu(values: Tensor) -> Tensor:
    return torch.relu(values) if torch.is_grad_enabled() else torch.relu_(values)


def has_hooks(module: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in names) or bool(getattr(module, "parametrizations", None))
