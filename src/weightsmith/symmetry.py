"""Symmetries of a network: hidden units can be permuted, and ReLU units rescaled, without changing its function.

Known here for `nn.Sequential` chains of linear and convolution layers. For a hidden unit with incoming weights `u`
(bias included) and outgoing weights `v`, `relu(s u . x) v / s = relu(u . x) v` for every `s > 0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from weightsmith.layout import Weights

_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU)
_POINTWISE = (*_HOMOGENEOUS, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.Softplus)
_TRANSPARENT = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Identity,
    nn.Dropout,
    nn.Flatten,
)

MAX_SWEEPS = 50


@dataclass(frozen=True)
class UnitGroup:
    """The hidden units between two layers: rows of `producer` (and `bias`), blocks of columns of `consumer`.

    A unit feeds `inputs of consumer / units` columns, more than one after a flatten. `scalable`: the activation between
    is positively homogeneous, so a unit's scale is free.
    """

    producer: str
    bias: str | None
    consumer: str
    units: int
    scalable: bool


@dataclass(frozen=True)
class Symmetry:
    """The unit groups of a network, input side first, and the layer that reads the input."""

    groups: tuple[UnitGroup, ...]
    first: str

    @classmethod
    def of(cls, module: nn.Module) -> Symmetry | None:
        """The symmetries of a chain, or `None` for a module whose graph is not an `nn.Sequential` of known layers."""
        if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
            return None
        layers = list(module._modules.items())  # named_children would pass over a layer that stands there twice
        learned = [layer for _, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
        if len(learned) != len(set(learned)):
            return None
        groups, previous, scalable, first = [], None, True, ""
        for name, layer in layers:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                if isinstance(layer, nn.Conv2d) and layer.groups != 1:
                    return None
                if previous is not None:
                    before, units, has_bias = previous
                    bias = f"{before}.bias" if has_bias else None
                    groups.append(UnitGroup(f"{before}.weight", bias, f"{name}.weight", units, scalable))
                first = first or f"{name}.weight"
                previous, scalable = (name, layer.weight.shape[0], layer.bias is not None), True
            elif isinstance(layer, _POINTWISE):
                scalable = scalable and isinstance(layer, _HOMOGENEOUS)
            elif not isinstance(layer, _TRANSPARENT):
                return None
        return cls(tuple(groups), first) if first else None

    def balance(self, weights: Weights) -> Weights:
        """The same functions with `|u| = |v|` at every scalable unit: the smallest weights that compute them.

        Sweeps over the groups until no scale moves by more than 1e-7. It works on the sums of squares between units, so
        that the weights themselves are touched once; a unit whose incoming or outgoing weights are all zero keeps its
        scale.
        """
        if not len(weights):
            return weights
        groups = [group for group in self.groups if group.scalable]
        tensors = {name: value.double() for name, value in weights.stacked().items() if value.is_floating_point()}
        energies = _energies(tensors, groups)
        factors = {g.producer: torch.ones(len(weights), g.units, dtype=torch.float64) for g in groups}
        for _ in range(MAX_SWEEPS):
            moves = []
            for group in groups:
                factor = _balance_group(energies, group)
                factors[group.producer] *= factor
                moves.append(float(factor.log().abs().max()))
            if not moves or max(moves) < 1e-7:
                break
        for group in groups:
            _rescale(tensors, group, factors[group.producer].sqrt())
        return _joined(weights, tensors)

    def align(self, weights: Weights, reference: Weights) -> Weights:
        """Permute the hidden units of each network towards one reference (a batch of one), function unchanged.

        Coordinate descent over the groups, each step an optimal assignment that maximises the inner product with the
        reference (Ainsworth et al. 2023, Algorithm 1), from the identity; the distance never grows.
        """
        target = {name: value for name, value in reference.stacked().items() if value.is_floating_point()}
        return Weights.concatenate([_joined(one, self._aligned(one, target)) for one in weights])

    def _aligned(self, one: Weights, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tensors = {name: value.clone() for name, value in one.stacked().items() if value.is_floating_point()}
        for _ in range(MAX_SWEEPS):
            moved = [_permute_group(tensors, target, group) for group in self.groups]
            if not any(moved):
                break
        return tensors


def fold_inactive_inputs(
    weights: Weights, symmetry: Symmetry, active: Tensor, values: Float[Tensor, "channel height width"]
) -> Weights:
    """Move the weights of inputs that never vary in the data into the bias, and set them to zero.

    `active` is false where an input is constant, at `values`. Only a linear first layer has weights of single inputs.
    """
    stacked = weights.stacked()
    matrix, bias_name = stacked[symmetry.first], symmetry.first.removesuffix("weight") + "bias"
    if matrix.ndim != 3 or matrix.shape[2] != active.numel() or bool(active.all()) or bias_name not in stacked:
        return weights
    silent = (~active).reshape(-1).to(matrix.dtype)
    tensors = {name: value for name, value in stacked.items() if value.is_floating_point()}
    tensors[bias_name] = tensors[bias_name] + matrix @ (silent * values.reshape(-1))
    tensors[symmetry.first] = matrix * (1 - silent)
    return _joined(weights, tensors)


def _similarity(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], group: UnitGroup) -> Tensor:
    """Inner products `[unit of the target, unit]` of the incoming and outgoing weights of two single networks."""

    def incoming(network: Mapping[str, Tensor]) -> Tensor:
        return network[group.producer].reshape(group.units, -1)

    def outgoing(network: Mapping[str, Tensor]) -> Tensor:
        consumer = network[group.consumer]
        return consumer.reshape(consumer.shape[1], group.units, -1).transpose(0, 1).reshape(group.units, -1)

    result = incoming(target) @ incoming(tensors).T + outgoing(target) @ outgoing(tensors).T
    if group.bias is not None:
        result += torch.outer(target[group.bias][0], tensors[group.bias][0])
    return result


def _energies(tensors: Mapping[str, Tensor], groups: Sequence[UnitGroup]) -> dict[str, Tensor]:
    """Sums of squares of the weights between units, `[batch, unit after, unit before]`, and squared biases."""
    before = {group.consumer: group.units for group in groups}
    result = {}
    for group in groups:
        for name in (group.producer, group.consumer):
            squares = tensors[name].square()
            result[name] = squares.reshape(*squares.shape[:2], before.get(name, 1), -1).sum(dim=3)
        if group.bias is not None:
            result[group.bias] = tensors[group.bias].square()
    return result


def _balance_group(energies: dict[str, Tensor], group: UnitGroup) -> Float[Tensor, "batch unit"]:
    """Balance one group's energies in place; returns the factor by which the incoming ones were multiplied."""
    incoming, outgoing = energies[group.producer].sum(dim=2), energies[group.consumer].sum(dim=1)
    if group.bias is not None:
        incoming = incoming + energies[group.bias]
    alive = (incoming > 0) & (outgoing > 0)
    factor = torch.where(alive, (outgoing / incoming).sqrt(), 1.0)
    energies[group.producer] = energies[group.producer] * factor[:, :, None]
    if group.bias is not None:
        energies[group.bias] = energies[group.bias] * factor
    energies[group.consumer] = energies[group.consumer] / factor[:, None, :]
    return factor


def _rescale(tensors: dict[str, Tensor], group: UnitGroup, scale: Float[Tensor, "batch unit"]) -> None:
    """Multiply the incoming weights of each unit and divide the outgoing ones, in place."""
    producer, consumer = tensors[group.producer], tensors[group.consumer]
    tensors[group.producer] = producer * scale.reshape(*scale.shape, *[1] * (producer.ndim - 2))
    if group.bias is not None:
        tensors[group.bias] = tensors[group.bias] * scale
    blocks = consumer.reshape(*consumer.shape[:2], group.units, -1) / scale[:, None, :, None]
    tensors[group.consumer] = blocks.reshape(consumer.shape)


def _permute_group(tensors: dict[str, Tensor], target: Mapping[str, Tensor], group: UnitGroup) -> bool:
    """Put one group's units (of a batch of one) in the order that fits the target best; false if they were in it."""
    similarity = _similarity(tensors, target, group)
    identity = torch.arange(group.units)
    order = torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])
    gain = (similarity[identity, order] - similarity[identity, identity]).sum()
    if gain <= 1e-6 * similarity.abs().max():  # ties and rounding must not keep the sweeps going
        return False
    consumer = tensors[group.consumer]
    tensors[group.producer] = tensors[group.producer][:, order]
    if group.bias is not None:
        tensors[group.bias] = tensors[group.bias][:, order]
    blocks = consumer.reshape(*consumer.shape[:2], group.units, -1)[:, :, order]
    tensors[group.consumer] = blocks.reshape(consumer.shape)
    return True


def _joined(weights: Weights, tensors: Mapping[str, Tensor]) -> Weights:
    vectors = torch.cat([tensors[spec.name].flatten(1) for spec in weights.layout.floating], dim=1)
    return weights.replace(vectors.to(weights.vectors.dtype))
