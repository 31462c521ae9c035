"""A flow over the weights of any architecture: noise to networks in a few steps, learned from checkpoints alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsmith.diffusion import LinearFlow, TrainingTimes, make_sampler, sample
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.hypernetworks.denoiser import GraphDenoiser

# Many numbers that belong together are told from noise near noise: taught, and walked through at leisure.
NEAR_NOISE = TrainingTimes(logit_normal=True, location=0.8, scale=1.2)


class GraphFlowGenerator:
    """`dx = v(x, t) dt` from noise (t = 1) to weights (t = 0), by a network that reads the graph."""

    has_likelihood = False

    def __init__(
        self,
        network: GraphDenoiser,
        path: LinearFlow,
        times: TrainingTimes = NEAR_NOISE,
        steps: int = 20,
        sampler: str = "euler",
    ) -> None:
        self.network, self.path, self.times = network, path, times
        self.steps, self.sampler = steps, sampler

    def weights(
        self, blueprint: Blueprint, rng: torch.Generator, *, steps: int | None = None, sampler: str | None = None
    ) -> dict[str, Tensor]:
        """One network's tensors by name, in `steps` steps (its own number without), differentiable in the network."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            velocity: Tensor = self.network(blueprint, x[0], t[0])
            return velocity[None]

        size = sum(math.prod(plan.shape) for plan in blueprint.tensors)
        found = sample(
            denoise,
            torch.randn(1, size, generator=rng).to(self.network.device),
            path=self.path,
            prediction="velocity",
            sampler=make_sampler(sampler or self.sampler),
            steps=steps or self.steps,
            rng=rng,
        )
        return self.network.weights(blueprint, found.final[0])


def make_graph_flow(
    seed: int, sizes: HypernetworkSizes | None = None, shift: float = 8.0, steps: int = 20, sampler: str = "euler"
) -> GraphFlowGenerator:
    """A generator at its start, whose units attend to each other unless `sizes` say otherwise.

    `seed` gives its initial weights, `shift` how many of its stops are near noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GraphDenoiser(sizes or HypernetworkSizes(attention=True))
    return GraphFlowGenerator(network, LinearFlow(shift), steps=steps, sampler=sampler)
