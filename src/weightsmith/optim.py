"""Adam that never writes down the gradient of a large linear layer: for networks bound by memory traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

LARGE = 1_000_000
FLUSH_EVERY = 32
TINY = 1e-34  # in FLUSH_EVERY steps a first moment decays by 0.9^32 = 0.03: not yet denormal
CHUNK = 1 << 18  # values updated at once: parameter, gradient and both moments stay in the cache


class OuterProductAdam:
    """Adam (Kingma and Ba 2015, betas 0.9 and 0.999, eps 1e-8), exact, in one pass over the memory of large layers.

    For a batch of b inputs x and output gradients d the gradient of a linear layer's weights is `d^T x`, of rank b. It
    is formed in pieces that stay in the cache, each used at once by the fused Adam kernel, so a
    large layer costs three arrays (weights and two moments) instead of four and none of the gradient's traffic.
    Moments of units that are never active decay to denormal numbers, which are several times slower to compute with:
    they are set to zero before, which changes no weight (a step of 1e-34 is lost in rounding).

    Smaller layers and other parameters go through `torch.optim.Adam`. While it is in use the weights of large layers
    are outside autograd; `close` ends that.
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self._large: dict[str, _LargeLinear] = {}
        for name, module in network.named_modules():
            if not isinstance(module, nn.Linear) or module.weight.numel() < LARGE or not module.weight.requires_grad:
                continue
            if module.bias is not None and module.bias.requires_grad:  # it keeps the layer's output in autograd
                self._large[name] = _LargeLinear(module)
        self._named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self._small = torch.optim.Adam([p for _, p in self._named], learning_rate, fused=True) if self._named else None
        self.learning_rate = learning_rate
        self.updates = 0

    @property
    def learning_rate(self) -> float:
        """The step size; may be changed between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = rate
        for group in self._small.param_groups if self._small is not None else ():
            group["lr"] = rate

    def close(self) -> None:
        """Leave the network as it was found: hooks removed, every parameter in autograd again."""
        for layer in self._large.values():
            layer.close()

    def step(self, loss: Tensor) -> None:
        """Backpropagate `loss` and update the network."""
        self.backward(loss)
        self.update()

    def backward(self, loss: Tensor) -> None:
        """Backpropagate `loss`, for one `update` to use."""
        self._forget()
        loss.backward()

    def gradient_norm(self, dtype: torch.dtype | None = None) -> Tensor:
        """The 2-norm of the whole gradient, a scalar, computed in `dtype`.

        That of large layers is had without writing their gradients down.
        """
        small = total_norm([p.grad for _, p in self._named if p.grad is not None], dtype)
        if not self._large:
            return small
        squares = [layer.squared_norm(dtype).to(small.device) for layer in self._large.values()]
        return torch.stack([small.square(), *squares]).sum().sqrt()

    def scale(self, factor: float) -> None:
        """Multiply the gradient, before `update`."""
        gradients = [p.grad for _, p in self._named if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, factor)
        for layer in self._large.values():
            layer.scale(factor)

    def update(self) -> None:
        """Update the network with the gradient."""
        if self._small is not None:
            self._small.step()
        for layer in self._large.values():
            layer.update(self.learning_rate)
        self.updates += 1
        if self.updates % FLUSH_EVERY == 0:
            flush_denormals(self._small, *(m for layer in self._large.values() for m in (layer.first, layer.second)))

    def discard(self) -> None:
        """Forget the gradient, and what was noted for it."""
        self._forget()
        for layer in self._large.values():
            layer.discard()

    def _forget(self) -> None:
        for _, parameter in self._named:  # what zero_grad does, without its profiling
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's whole state, by parameter name."""
        result = {"updates": torch.tensor(self.updates)} | named_moments(self._named, self._small)
        for name, layer in self._large.items():
            result |= {f"{name}.weight.{key}": value for key, value in layer.state().items()}
        return result

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.updates = int(tensors["updates"])
        restore_moments(self._named, self._small, tensors)
        for name, layer in self._large.items():
            layer.restore({key: tensors[f"{name}.weight.{key}"] for key in layer.state()})


def total_norm(gradients: list[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The 2-norm of all gradients together, a scalar, computed in `dtype` (theirs if none is given); 0 without any."""
    if not gradients:
        return torch.zeros((), dtype=dtype)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2, dtype)))


def flush_denormals(optimizer: torch.optim.Optimizer | None, *others: Tensor) -> None:
    """Set moments below `TINY` to zero, a cache-sized part at a time."""
    moments = list(others)
    for state in optimizer.state.values() if optimizer is not None else ():
        moments += [value for key, value in state.items() if key != "step"]
    for moment in moments:
        for part in moment.view(-1).split(CHUNK):
            part.mul_(part.abs() >= TINY)


def named_moments(named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """What PyTorch's optimizer holds of each parameter, as `{parameter.key: tensor}`."""
    result: dict[str, Tensor] = {}
    for name, parameter in named:
        state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
        result |= {f"{name}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return result


def restore_moments(
    named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer | None, tensors: Mapping[str, Tensor]
) -> None:
    """The inverse of `named_moments`; names of other parameters are passed over."""
    for name, parameter in named:
        state = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        if state and optimizer is not None:
            # Moments live beside their parameter; the step counts where PyTorch's fused Adam wants them.
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}


class _LargeLinear:
    """The weights of one linear layer, taken out of autograd: its inputs and output gradients are noted instead."""

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = layer.weight.requires_grad_(False)
        self.first, self.second = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self.steps = torch.zeros((), device=self.weight.device)
        self.noted: list[dict[str, Tensor]] = []
        self._gathered: tuple[Tensor, Tensor] | None = None
        self._hook = layer.register_forward_hook(self._note)

    def close(self) -> None:
        self._hook.remove()
        self.discard()
        self.weight.requires_grad_(True)

    def discard(self) -> None:
        self.noted.clear()
        self._gathered = None

    def scale(self, factor: float) -> None:
        """Multiply the gradient."""
        if (gathered := self._gather()) is not None:
            gathered[1].mul_(factor)

    def squared_norm(self, dtype: torch.dtype | None = None) -> Tensor:
        """`|d^T x|^2`: as `sum (d d^T) * (x x^T)` where the batch is small against the layer, else piece by piece."""
        if (gathered := self._gather()) is None:
            return torch.zeros((), device=self.weight.device)
        inputs, gradients = (part.to(dtype or part.dtype) for part in gathered)
        batch, (outputs, width) = len(inputs), self.weight.shape
        if batch * (outputs + width) <= outputs * width:
            return ((gradients.T @ gradients) * (inputs @ inputs.T)).sum().clamp(min=0)
        rows = max(1, CHUNK // width)
        return torch.stack([(part @ inputs).square().sum() for part in gradients.split(rows)]).sum()

    def update(self, learning_rate: float) -> None:
        """Apply Adam to all rows, a cache-sized chunk at a time."""
        if (gathered := self._gather()) is None:
            return
        inputs, gradients = gathered
        self._gathered = None
        rows = max(1, CHUNK // self.weight.shape[1])
        buffer = torch.empty(rows, self.weight.shape[1], device=self.weight.device)
        for start in range(0, len(self.weight), rows):
            part = slice(start, min(start + rows, len(self.weight)))
            gradient = torch.mm(gradients[part], inputs, out=buffer[: part.stop - part.start])
            _fused_adam(self.weight[part], gradient, self.first[part], self.second[part], self.steps, learning_rate)
        self.steps += 1

    def _gather(self) -> tuple[Tensor, Tensor] | None:
        """The inputs `(b, inputs)` and gradients `(outputs, b)` noted of all passes since the last update."""
        noted = [pair for pair in self.noted if "output_gradient" in pair]
        self.noted.clear()
        if noted:
            inputs = torch.cat([pair["input"] for pair in noted]).to(self.weight.dtype)
            outputs = torch.cat([pair["output_gradient"] for pair in noted]).to(self.weight.dtype)
            self._gathered = inputs, outputs.T.contiguous()
        return self._gathered

    def state(self) -> dict[str, Tensor]:
        return {"exp_avg": self.first, "exp_avg_sq": self.second, "step": self.steps}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.first.copy_(tensors["exp_avg"])
        self.second.copy_(tensors["exp_avg_sq"])
        self.steps.copy_(tensors["step"])

    def _note(self, layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if not (torch.is_grad_enabled() and output.requires_grad):
            return
        pair = {"input": arguments[0].detach().flatten(0, -2)}
        output.register_hook(lambda gradient: pair.__setitem__("output_gradient", gradient.flatten(0, -2)))
        self.noted.append(pair)


def _fused_adam(weight: Tensor, gradient: Tensor, first: Tensor, second: Tensor, steps: Tensor, rate: float) -> None:
    options: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "lr": rate, "weight_decay": 0.0, "eps": 1e-8}
    # The kernel counts the step itself, in the tensor it is given: each chunk must see the same count.
    with torch.no_grad():
        adam(
            [weight], [gradient], [first], [second], [], [steps.clone()],
            fused=True, amsgrad=False, maximize=False, **options,
        )  # fmt: skip
