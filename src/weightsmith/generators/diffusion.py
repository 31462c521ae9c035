"""Diffusion and flow on tokens: one generator with different paths, predictions, networks and samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from weightsmith.denoisers import ConditionBatch, ConditionKinds, Denoiser, GivenBatch, make_denoiser
from weightsmith.diffusion import (
    UNIFORM,
    Clamp,
    ClassifierFreeGuidance,
    Path,
    Prediction,
    Samples,
    TrainingTimes,
    make_path,
    make_sampler,
    sample,
)
from weightsmith.errors import BadInput
from weightsmith.interfaces import Condition, Trajectory, refuse_unknown_conditions
from weightsmith.tokens import TokenSpace


class DiffusionGenerator:
    """Noise to tokens along `x_t = alpha(t) x_0 + sigma(t) noise`, by a network that says `prediction` of `x_t`.

    `network(x [batch, token, dim], t [batch], conditions, given, mask)`. What it samples with where nothing else is
    asked for: `sampler`, `steps`, `guidance`. Numbers of the space that are padding stay zero throughout.
    """

    def __init__(
        self,
        space: TokenSpace,
        network: Denoiser,
        path: Path,
        prediction: Prediction,
        *,
        drop: float = 0.1,
        times: TrainingTimes = UNIFORM,
        sampler: str = "heun",
        steps: int = 20,
        guidance: float = 1.0,
    ) -> None:
        self.space, self.path, self.prediction = space, path, prediction
        self.drop, self.times = drop, times
        self.network = cast(nn.Module, network)
        self.sampler, self.steps, self.guidance = sampler, steps, guidance
        self.understands = network.conditions.names | ({"given"} if network.reads_given else frozenset())
        self.given_tensors = tuple(dict.fromkeys(meaning.tensor for meaning in space.meanings))

    @property
    def denoiser(self) -> Denoiser:
        return cast(Denoiser, self.network)

    @property
    def has_likelihood(self) -> bool:
        """Whether its own sampler draws at every step, and so knows how probable its samples are."""
        return make_sampler(self.sampler).stochastic

    def sample(
        self,
        n: int,
        condition: Condition,
        rng: torch.Generator,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        keep: Literal["last", "all"] = "last",
        differentiable_steps: int | None = 0,
    ) -> Trajectory:
        """`n` networks from noise; with `keep="all"` every state and what is known of every step.

        `guidance` w: `unconditional + w (conditional - unconditional)`. Gradients flow through the last
        `differentiable_steps` steps, all for None. Raises `BadInput` for a condition that it does not understand.
        """
        refuse_unknown_conditions(condition, self.understands, "this diffusion generator")
        device = next(self.network.parameters()).device
        valid = self.space.valid.to(device)
        start = torch.randn(n, *valid.shape, generator=rng).to(device) * valid
        given = None if condition.given is None else GivenBatch.of(condition.given, n)
        found = sample(
            self._denoise(condition, n, given, self.guidance if guidance is None else guidance),
            start,
            path=self.path,
            prediction=self.prediction,
            sampler=make_sampler(sampler or self.sampler),
            steps=steps or self.steps,
            rng=rng,
            clamp=_clamp(valid, given, start),
            counted=valid,
            keep=keep,
            differentiable_steps=differentiable_steps,
        )
        return self._trajectory(found)

    def _denoise(self, condition: Condition, n: int, given: GivenBatch | None, guidance: float) -> Any:
        asked = self.denoiser.conditions.batch(condition, n)

        def with_conditions(conditions: ConditionBatch | None) -> Any:
            return lambda x, t: self.network(x, t, conditions, given)

        if not asked.values:
            return with_conditions(None)
        return ClassifierFreeGuidance(with_conditions(asked), with_conditions(None), guidance)

    def _trajectory(self, found: Samples) -> Trajectory:
        states = tuple(self.space.tokens(state) for state in found.states)
        drawn = [step for step in found.steps if step.std is not None and step.log_prob is not None]
        return Trajectory(
            states,
            tuple(step.mean for step in drawn),
            tuple(step.std for step in drawn if step.std is not None),
            tuple(step.log_prob for step in drawn if step.log_prob is not None),
        )


def _clamp(valid: Tensor, given: GivenBatch | None, like: Tensor) -> Clamp | None:
    """Padding is known to be zero, and given numbers are known: one clamp keeps both."""
    if given is None:
        return None if bool(valid.all()) else Clamp(torch.zeros_like(like), (~valid).expand(like.shape))
    values = torch.where(given.known & valid, given.values.to(like), 0.0)
    return Clamp(values, given.known | ~valid)


def make_diffusion(
    space: TokenSpace,
    seed: int,
    path: str = "flow",
    timesteps: int = 1000,
    shift: float = 1.0,
    prediction: Prediction = "velocity",
    denoiser: str = "mlp",
    width: int = 512,
    blocks: int = 4,
    memory: int = 0,
    heads: int = 4,
    condition_width: int = 128,
    conditions: Sequence[str] = (),
    datasets: Sequence[str] = (),
    architectures: Sequence[str] = (),
    given: bool = False,
    times: str = "uniform",
    times_location: float = 0.0,
    times_scale: float = 1.0,
    **sampling: Any,
) -> DiffusionGenerator:
    """The generator of these options for tokens in `space`; `seed` gives the initial weights of its network.

    Raises `BadInput` for options that do not fit one another.
    """
    vocabulary = {"dataset": datasets, "architecture": architectures}
    kinds = ConditionKinds(
        {name: "logit" if name == "accuracy" else "log" for name in conditions},
        {name: names for name, names in vocabulary.items() if names},
    )
    if memory and denoiser != "mlp":
        raise BadInput(f"memory={memory} of the {denoiser} denoiser", "only mlp has a memory; leave it out")
    options: dict[str, Any] = {"reads_given": given}
    if denoiser == "simple":
        options |= {"hidden": width, "layers": blocks, "time_embedding": condition_width}
    else:
        options |= {"width": width, "blocks": blocks, "condition_width": condition_width}
        options |= {"heads": heads} if denoiser == "transformer" else {"memory": memory}
    network = make_denoiser(denoiser, space, kinds, options, seed)
    with torch.device("cpu"):  # its table follows from the options, also where the network is made without memory
        made = make_path(path, shift=shift) if path == "flow" else make_path(path, timesteps=timesteps)
    when = TrainingTimes(times == "logit-normal", times_location, times_scale)
    return DiffusionGenerator(space, network, made, prediction, times=when, **sampling)
