"""Sampling: the loop that walks a path from noise to data with any denoiser, prediction and sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.diffusion.clamping import Clamp
from weightsmith.diffusion.guidance import Denoiser
from weightsmith.diffusion.path import Path
from weightsmith.diffusion.predictions import Denoised, Prediction, clip_x0, denoised
from weightsmith.diffusion.samplers.sampler import Predict, Sampler
from weightsmith.diffusion.step import Step, noise_like, take_step
from weightsmith.errors import BadInput


@dataclass(frozen=True, eq=False)
class Samples:
    """What a sampler made. `times` are those of its stops, from noise to data.

    `states` are all of them, `[batch, ...]` each, one more than `steps`; or only the last, with no steps, when asked.
    `states[k + 1]` is `steps[k].next_state`, in which numbers that were given stand as given.
    """

    times: Float[Tensor, " time"]
    states: tuple[Tensor, ...]
    steps: tuple[Step, ...]

    @property
    def final(self) -> Tensor:
        return self.states[-1]


def sample(
    denoise: Denoiser,
    start: Float[Tensor, " batch *rest"] | Sequence[int],
    *,
    path: Path,
    prediction: Prediction,
    sampler: Sampler,
    steps: int | Float[Tensor, " time"],
    rng: torch.Generator,
    clamp: Clamp | None = None,
    counted: Bool[Tensor, " ..."] | None = None,
    keep: Literal["last", "all"] = "last",
    differentiable_steps: int | None = None,
    clip: float | None = None,
) -> Samples:
    """Walk from `start` to data.

    * `denoise(x, t)`: any callable that says `prediction` of states `[batch, ...]` at times `[batch]`.
    * `start`: the state at the first time, or a shape `[batch, ...]` for noise drawn from `rng` on its device.
    * `steps`: how many of `path.grid`, or the falling times themselves, `[time]`.
    * `clamp`: numbers to keep. They follow the path with the noise of the start under a deterministic sampler, with new
      noise at every step under a stochastic one; they do not count in log-probabilities.
    * `counted`: which dimensions count in log-probabilities; `[token, dim]` or whatever broadcasts.
    * `differentiable_steps`: gradients flow through the last so many steps, 0 for none; None leaves it to the caller.
    * `clip`: the largest magnitude of predicted data; nothing is clipped when it is None.

    Raises `BadInput` for times that do not fall within [0, 1], or noise asked for at a first time other than 1.
    """
    times = path.grid(steps) if isinstance(steps, int) else _checked(steps)
    x = start if isinstance(start, Tensor) else _noise(start, times, rng)
    noise = x if times[0] == 1 else noise_like(x, rng)
    predict = predictor(denoise, path, prediction, clip)
    if clamp is not None:
        x, counted = clamp.apply(x, noise, _each(times[0], x), path), clamp.drawn(counted)
    states, taken, memory, last = [x], [], None, len(times) - 1
    for k in range(last):
        t, next_t = _each(times[k], x), _each(times[k + 1], x)
        kept = differentiable_steps is None or last - k <= differentiable_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and kept):
            step = take_step(sampler, predict, x, t, next_t, path, rng, memory=memory, counted=counted)
            if clamp is not None:
                noise = noise if step.std is None else noise_like(x, rng)
                step = replace(step, next_state=clamp.apply(step.next_state, noise, next_t, path))
        x, memory = step.next_state, step.memory
        if keep == "all":
            states.append(x)
            taken.append(replace(step, memory=None))
    return Samples(times, tuple(states) if keep == "all" else (x,), tuple(taken))


def predictor(denoise: Denoiser, path: Path, prediction: Prediction, clip: float | None = None) -> Predict:
    """What samplers ask: data and noise in a state. The network gets its times in the states' dtype and device."""

    def predict(x: Tensor, t: Tensor) -> Denoised:
        pair = denoised(prediction, denoise(x, t.to(x)), x, t, path)
        return pair if clip is None else clip_x0(pair, clip, x, t, path)

    return predict


def _each(time: Tensor, x: Tensor) -> Tensor:
    return time.expand(x.shape[0])


def _noise(shape: Sequence[int], times: Tensor, rng: torch.Generator) -> Tensor:
    if times[0] != 1:
        raise BadInput(f"noise was asked for at time {float(times[0]):g}", "start at time 1, or give the start itself")
    return torch.randn(tuple(shape), generator=rng, device=rng.device)


def _checked(times: Tensor) -> Tensor:
    falling = times.ndim == 1 and len(times) > 1 and bool((times.diff() < 0).all())
    if not falling or times[0] > 1 or times[-1] < 0:
        raise BadInput(f"times {times.tolist()} do not fall within [0, 1]", "give them from noise (1) to data (0)")
    return times
