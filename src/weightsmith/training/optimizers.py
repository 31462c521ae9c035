"""What the loop asks of an optimizer, and those that are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from weightsmith.optim import FLUSH_EVERY, OuterProductAdam, flush_denormals, named_moments, restore_moments, total_norm
from weightsmith.training.settings import LoopSettings

Named = list[tuple[str, nn.Parameter]]


class Optimizer(Protocol):
    """One update in parts, so that a gradient can be looked at, clipped, or left unused."""

    learning_rate: float
    updates: int

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of `loss`."""
        ...

    def gradient_norm(self, dtype: torch.dtype | None = None) -> Tensor:
        """The 2-norm of the whole gradient, a scalar, computed in `dtype`."""
        ...

    def scale(self, factor: float) -> None:
        """Multiply the gradient."""
        ...

    def update(self) -> None:
        """Make one update with the gradient."""
        ...

    def discard(self) -> None:
        """Forget the gradient."""
        ...

    def tensors(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...

    def close(self) -> None:
        """Leave the network as it was found."""
        ...


def make_optimizer(network: nn.Module, learning_rate: float, settings: LoopSettings) -> Optimizer:
    """The optimizer that the settings name."""
    if settings.optimizer == "adam":
        return OuterProductAdam(network, learning_rate)
    if settings.optimizer == "muon":
        return muon(network, learning_rate)
    return adamw(network, learning_rate, settings.weight_decay)


class _Stepped:
    """Optimizers of PyTorch's, each for some parameters, as one: they are stepped together, at one rate."""

    def __init__(self, parts: Sequence[tuple[Named, torch.optim.Optimizer]], learning_rate: float) -> None:
        self._parts = [(named, optimizer) for named, optimizer in parts if named]
        self.learning_rate = learning_rate
        self.updates = 0

    @property
    def learning_rate(self) -> float:
        """The step size; may be changed between updates."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = rate
        for _, optimizer in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def backward(self, loss: Tensor) -> None:
        self.discard()
        loss.backward()

    def gradient_norm(self, dtype: torch.dtype | None = None) -> Tensor:
        return total_norm(self._gradients(), dtype)

    def scale(self, factor: float) -> None:
        torch._foreach_mul_(self._gradients(), factor)

    def update(self) -> None:
        self.updates += 1
        for _, optimizer in self._parts:
            optimizer.step()
            if self.updates % FLUSH_EVERY == 0:
                flush_denormals(optimizer)

    def discard(self) -> None:
        for parameter in self._parameters():  # what zero_grad does, without its profiling
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        found = {"updates": torch.tensor(self.updates)}
        for named, optimizer in self._parts:
            found |= named_moments(named, optimizer)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.updates = int(tensors["updates"])
        for named, optimizer in self._parts:
            restore_moments(named, optimizer, tensors)

    def close(self) -> None:
        self.discard()

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for named, _ in self._parts for _, parameter in named)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters() if p.grad is not None]


def adamw(network: nn.Module, learning_rate: float, weight_decay: float) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019, alg. 2; betas 0.9 and 0.999, eps 1e-8): `w <- w (1 - rate decay)` beside Adam.

    Tensors of fewer than two dimensions (biases, norms, scales) do not decay.
    """
    named = _trained(network)
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return _Stepped([(named, torch.optim.AdamW(groups, learning_rate, fused=True))], learning_rate)


def muon(network: nn.Module, learning_rate: float) -> Optimizer:
    """Muon (Jordan et al. 2024) for matrices, Adam for all else, at one rate.

    A matrix moves along its momentum with all singular values made about one, at the root mean square of Adam's steps
    (Liu et al. 2025): `w <- w - rate 0.2 sqrt(max(m, n)) orth(momentum)`.
    """
    matrices = [(name, p) for name, p in _trained(network) if _is_matrix(p)]
    others = [(name, p) for name, p in _trained(network) if not _is_matrix(p)]
    parts: list[tuple[Named, torch.optim.Optimizer]] = []
    if matrices:
        weights = [p for _, p in matrices]
        along = torch.optim.Muon(weights, learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        parts.append((matrices, along))
    if others:
        parts.append((others, torch.optim.Adam([p for _, p in others], learning_rate, fused=True)))
    return _Stepped(parts, learning_rate)


def _trained(network: nn.Module) -> Named:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) > 1
