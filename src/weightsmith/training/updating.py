"""One update of a network: the gradient, whether it may be used, clipping, the learning rate, and the averages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightsmith.training.average import WeightAverage
from weightsmith.training.optimizers import make_optimizer
from weightsmith.training.schedule import rate_factor
from weightsmith.training.settings import LoopSettings


@dataclass(frozen=True)
class Update:
    """What an update came to: the loss, the global norm of the gradient before clipping, and whether it was clipped.

    Nothing was updated where loss or norm is not finite.
    """

    loss: float
    norm: float
    clipped: bool

    @property
    def made(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Updater:
    """Makes the updates of one training: `planned` are those of the whole, for schedules."""

    def __init__(self, network: nn.Module, learning_rate: float, settings: LoopSettings, planned: int) -> None:
        self._network, self._peak, self._settings, self._planned = network, learning_rate, settings, planned
        # Before the optimizer, which takes the weights of large layers out of autograd.
        self.average = None if settings.ema_decay is None else WeightAverage(network, settings.ema_decay)
        self.optimizer = make_optimizer(network, learning_rate, settings)

    def update(self, loss: Tensor) -> Update:
        """Update with the gradient of `loss`, a scalar, or leave all as it is where that is not finite."""
        self.optimizer.backward(loss)
        value, norm = _numbers(loss.detach(), self.optimizer.gradient_norm())
        # The squares of finite numbers may overflow float32; mps has nothing wider.
        if math.isfinite(value) and not math.isfinite(norm) and loss.device.type != "mps":
            norm = float(self.optimizer.gradient_norm(torch.float64))
        # As torch.nn.utils.clip_grad_norm_ has it, so that results can be compared.
        factor = math.inf if self._settings.clip_norm is None else self._settings.clip_norm / (norm + 1e-6)
        found = Update(value, norm, factor < 1)
        if found.made:
            self._apply(factor)
        else:
            self.optimizer.discard()
        return found

    def _apply(self, factor: float) -> None:
        if factor < 1:
            self.optimizer.scale(factor)
        rate = rate_factor(self._settings, self.optimizer.updates, self._planned)
        self.optimizer.learning_rate = self._peak * rate
        self.optimizer.update()
        if self.average is not None:
            self.average.note(self.optimizer.updates)


def _numbers(loss: Tensor, norm: Tensor) -> tuple[float, float]:
    """Both as Python numbers, with one wait for the device."""
    if loss.device.type == "cpu":
        return float(loss), float(norm)
    dtype = torch.promote_types(loss.dtype, norm.dtype)
    first, second = torch.stack([loss.to(dtype), norm.to(loss.device, dtype)]).tolist()
    return first, second
