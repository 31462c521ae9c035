"""Steppers: one optimizer step of one or many networks at once, in the ways that can be fastest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from weightsmith.datasets import Split
from weightsmith.ensemble.arrangement import arranged
from weightsmith.ensemble.chain import Chain
from weightsmith.ensemble.machine import autocast, dtype_of, placed_images, placed_module
from weightsmith.ensemble.optimizers import make_optimizer
from weightsmith.ensemble.plan import LARGEST_LOSS, Member, Method, TrainingPlan
from weightsmith.errors import BadInput
from weightsmith.layout import Layout, Weights


@runtime_checkable
class Stepper(Protocol):
    """Holds networks, the images they learn from, and an optimizer."""

    optimizer: torch.optim.Optimizer

    def step(self, rows: Int[Tensor, "order image"]) -> Float[Tensor, " network"]:
        """One update of every network on its images; the mean loss an image of each, before the update.

        `rows` holds one order that all networks share, or one for each.
        """
        ...

    def weights(self) -> Weights:
        """A copy of the networks, on the CPU."""
        ...


def make_stepper(
    method: Method,
    module: nn.Module,
    weights: Weights,
    split: Split,
    plan: TrainingPlan,
    members: Sequence[Member],
    device: torch.device,
) -> Stepper:
    """The stepper of a method. Raises `BadInput` for a method that the module does not allow."""
    if not can(method, module):
        raise BadInput(f"method {method!r} does not fit this network", "use zoo.method=auto or loop")
    return _STEPPERS[method](module, weights, split, plan, members, device)


def can(method: Method, module: nn.Module) -> bool:
    """Whether networks of this form can be trained by a method.

    Stacked: multilayer perceptrons. vmap: float32 modules without tied weights, and without buffers, since statistics
    would be written in place.
    """
    if method == "stacked":
        return Chain.of(module) is not None
    values = list(module.state_dict(keep_vars=True).values())
    plain = all(isinstance(value, nn.Parameter) and value.dtype == torch.float32 for value in values)
    return method == "loop" or (plain and len(set(values)) == len(values))


class LoopStepper:
    """One network, by autograd, channels-last, with products in the plan's precision."""

    def __init__(
        self,
        module: nn.Module,
        weights: Weights,
        split: Split,
        plan: TrainingPlan,
        members: Sequence[Member],
        device: torch.device,
    ) -> None:
        (member,) = members
        self._own = placed_module(copy.deepcopy(module), device)
        self._own.load_state_dict(weights.states()[0])
        self._run = arranged(self._own).train()
        self._layout, self._plan, self._device = weights.layout, plan, device
        self._images, self._labels = placed_images(split.images, plan.precision, device), split.labels.to(device)
        self.optimizer = make_optimizer(plan, [(list(self._own.parameters()), member)])

    def step(self, rows: Int[Tensor, "order image"]) -> Float[Tensor, " network"]:
        chosen = rows[0]
        with autocast(self._plan.precision, self._device):
            outputs = self._run(self._images[chosen])
        loss = F.cross_entropy(outputs.float(), self._labels[chosen])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()[None]

    def weights(self) -> Weights:
        return self._layout.flatten([self._own.state_dict()]).to("cpu")


class _VectorStepper:
    """Networks as the rows of one matrix, which the optimizer updates in place; subclasses give its gradient."""

    def __init__(
        self, weights: Weights, split: Split, plan: TrainingPlan, members: Sequence[Member], device: torch.device
    ) -> None:
        self._start, self._device = weights, device
        self._vectors = weights.vectors.to(device, copy=True)
        self._gradients = torch.zeros_like(self._vectors)
        self._labels = split.labels.to(device)
        self.optimizer = make_optimizer(plan, self._parts(members))

    def weights(self) -> Weights:
        return self._start.replace(self._vectors.cpu().clone())

    def _parts(self, members: Sequence[Member]) -> list[tuple[list[Tensor], Member]]:
        """All rows as one tensor where their hyperparameters agree, else each row by itself."""
        if len({member.hyperparameters for member in members}) == 1:
            return [([self._with_gradient(slice(None))], members[0])]
        return [([self._with_gradient(i)], member) for i, member in enumerate(members)]

    def _with_gradient(self, index: int | slice) -> Tensor:
        view = self._vectors[index].detach().requires_grad_()
        view.grad = self._gradients[index]
        return view

    def _views(self, matrix: Tensor, layout: Layout) -> dict[str, Tensor]:
        """Every tensor of every network, `[network, *shape]`, sharing memory with a matrix `[network, parameters]`."""
        spans = ((spec, *layout.offsets[spec.name]) for spec in layout.floating)
        return {spec.name: matrix[:, start:end].unflatten(1, spec.shape or (1,)) for spec, start, end in spans}


class StackedStepper(_VectorStepper):
    """Multilayer perceptrons as batched matrix products; where they share a batch, the first layer is one product."""

    def __init__(
        self,
        module: nn.Module,
        weights: Weights,
        split: Split,
        plan: TrainingPlan,
        members: Sequence[Member],
        device: torch.device,
    ) -> None:
        super().__init__(weights, split, plan, members, device)
        chain = Chain.of(module)
        assert chain is not None, "make_stepper has looked"
        self._chain, self._dtype = chain, dtype_of(plan.precision)
        self._images = split.images.to(device, self._dtype).flatten(1).contiguous()
        self._targets = self._views(self._gradients, weights.layout)
        self._tensors = self._views(self._vectors, weights.layout)
        # oneDNN's bfloat16 products read past a row's end, times zero: a NaN there would reach the neighbour. Networks
        # that diverge are therefore computed as zeros, and called NaN afterwards.
        self._leaks = self._dtype == torch.bfloat16 and device.type == "cpu"
        self._lost = ~self._vectors.isfinite().all(dim=1) & self._leaks

    def step(self, rows: Int[Tensor, "order image"]) -> Float[Tensor, " network"]:
        networks, (orders, images) = len(self._vectors), rows.shape
        inputs = self._images.index_select(0, rows.reshape(-1))  # several times faster than indexing by brackets
        labels = self._labels[rows].expand(networks, images)
        inputs = (inputs if orders < networks else inputs.unflatten(0, (orders, images))).mT
        leaves, losses = self._forward(inputs, labels)
        if self._leaks and not bool((losses < LARGEST_LOSS).all()):
            self._lost |= self._lost_among(losses, inputs, labels) | ~self._vectors.isfinite().all(dim=1)
            leaves, losses = self._forward(inputs, labels)
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        for target, gradient in zip(self._targets.values(), gradients, strict=True):
            target.copy_(gradient)
        losses = losses.detach()
        if bool(self._lost.any()):
            self._gradients[self._lost] = losses[self._lost] = torch.nan
        self.optimizer.step()
        return losses

    def _forward(self, inputs: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Float[Tensor, " network"]]:
        """The weights in the products' dtype, zero for networks that are lost, and the losses that follow from them."""
        leaves = {name: tensor.detach().to(self._dtype) for name, tensor in self._tensors.items()}
        if bool(self._lost.any()):
            leaves = {name: leaf.masked_fill(_like(self._lost, leaf), 0.0) for name, leaf in leaves.items()}
        leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
        return leaves, self._losses(leaves, inputs, labels)

    def _lost_among(self, losses: Tensor, inputs: Tensor, labels: Tensor) -> Bool[Tensor, " network"]:
        """Those of the networks whose loss is beyond all bounds that are so by themselves, without a neighbour."""
        lost = ~(losses.detach() < LARGEST_LOSS)
        with torch.no_grad():
            for i in lost.nonzero()[:, 0].tolist():
                alone = {name: tensor[i : i + 1].to(self._dtype) for name, tensor in self._tensors.items()}
                own = inputs if inputs.ndim == 2 else inputs[i : i + 1]
                lost[i] = ~(self._losses(alone, own, labels[i : i + 1]) < LARGEST_LOSS)[0]
        return lost

    def _losses(self, tensors: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> Float[Tensor, " network"]:
        logits = self._chain.logits(tensors, inputs)
        return F.cross_entropy(logits.float(), labels, reduction="none").mean(dim=1)


def _like(flags: Bool[Tensor, " network"], values: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (values.ndim - 1))


class VmapStepper(_VectorStepper):
    """Networks of any form without buffers, by `torch.func.vmap`; compiled on a GPU."""

    def __init__(
        self,
        module: nn.Module,
        weights: Weights,
        split: Split,
        plan: TrainingPlan,
        members: Sequence[Member],
        device: torch.device,
    ) -> None:
        super().__init__(weights, split, plan, members, device)
        self._images = split.images.to(device, dtype_of(plan.precision))
        self._targets = self._views(self._gradients, weights.layout)
        self._tensors = self._views(self._vectors, weights.layout)
        form = copy.deepcopy(module).to(device).train()

        def loss(tensors: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            with autocast(plan.precision, device):
                outputs = torch.func.functional_call(form, dict(tensors), (images,))
            return F.cross_entropy(outputs.float(), labels)

        each = torch.func.grad_and_value(loss)
        self._shared = torch.func.vmap(each, in_dims=(0, None, None), randomness="different")
        self._apart = torch.func.vmap(each, in_dims=(0, 0, 0), randomness="different")
        if device.type == "cuda":
            self._shared, self._apart = torch.compile(self._shared), torch.compile(self._apart)

    def step(self, rows: Int[Tensor, "order image"]) -> Float[Tensor, " network"]:
        shared = len(rows) < len(self._vectors)
        chosen = rows[0] if shared else rows
        each = self._shared if shared else self._apart
        gradients, losses = each(self._tensors, self._images[chosen], self._labels[chosen])
        for name, target in self._targets.items():
            target.copy_(gradients[name])
        self.optimizer.step()
        return losses.detach()


_STEPPERS: dict[Method, Callable[..., Stepper]] = {"loop": LoopStepper, "stacked": StackedStepper, "vmap": VmapStepper}
