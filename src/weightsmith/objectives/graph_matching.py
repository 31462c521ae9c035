"""Flow matching over networks of many architectures, with neither labels nor images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightsmith.diffusion import Denoised, output_of
from weightsmith.hypernetworks.checkpoints import Checkpoints
from weightsmith.hypernetworks.denoiser import parts
from weightsmith.interfaces import LossRecord

NETWORK = "network"


@dataclass(frozen=True)
class GraphMatching:
    """`mean |v(x_t, t) - (noise - x_0)|^2` with `x_t = (1 - t) x_0 + t noise`, for networks x_0 of `checkpoints`.

    (Lipman et al. 2023, equation 9, with time reversed.) Errors are averaged over the numbers of a tensor, then over
    the tensors of a network, so that a bias counts as a matrix does.
    """

    checkpoints: Checkpoints

    def __call__(self, generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
        """The loss on the networks whose numbers are `batch["network"]`; times are as `generator.times` says."""
        numbers = batch[NETWORK].tolist()
        spread = (torch.randperm(len(numbers), generator=rng) + torch.rand(len(numbers), generator=rng)) / len(numbers)
        times = generator.times.at(1 - spread.double())
        losses = [self._loss(generator, *one, rng) for one in zip(numbers, times, strict=True)]
        return LossRecord(torch.stack(losses).mean(), {})

    def _loss(self, generator: Any, number: int, t: Tensor, rng: torch.Generator) -> Tensor:
        blueprint = self.checkpoints.blueprint(number)
        x0 = generator.network.state(blueprint, self.checkpoints.weights[number])
        noise = torch.randn(x0.shape, generator=rng).to(x0)
        point = generator.path.sample(x0[None], noise[None], t[None])
        wanted = output_of("velocity", Denoised(x0[None], noise[None]), t[None], generator.path)
        said = generator.network(blueprint, point.state[0], t.to(x0))
        errors = parts(blueprint, (said.float() - wanted[0]).square())
        return torch.stack([error.mean() for error in errors]).mean()
