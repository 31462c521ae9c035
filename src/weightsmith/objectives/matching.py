"""Matching: teach a diffusion or flow network what it should say of noisy tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.denoisers import ConditionBatch, GivenBatch
from weightsmith.diffusion import Denoised, VariancePreserving, output_of
from weightsmith.interfaces import LossRecord

VALUES = "values"
GIVEN_SHARE = 0.75  # of the examples, of which some tensors are given, where a generator learns to fill in


def matching_loss(generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> LossRecord:
    """`mean |f(x_t, t, c) - target|^2` with `x_t = alpha(t) x_0 + sigma(t) noise`, over the numbers that are unknown.

    `batch["values"]` `[batch, token, dim]` are clean tokens, every other column a condition `[batch]`, NaN or negative
    where it is not stated. Times are as `generator.times` says, in (0, 1] or among the time steps of a
    variance-preserving path (Ho et al. 2020, equation 14; Lipman et al. 2023, equation 9). Conditions are dropped from
    a share `generator.drop` of the examples. A generator that understands `given` is shown, in most examples, a random
    choice of tensors.
    """
    x0, valid = batch[VALUES], generator.space.valid.to(batch[VALUES].device)
    t = _times(generator, len(x0), rng)
    noise = torch.randn(x0.shape, generator=rng).to(x0) * valid
    point = generator.path.sample(x0, noise, t)
    target = output_of(generator.prediction, Denoised(x0, noise), t, generator.path)
    conditions = _conditions(generator, batch, rng)
    given = _given(generator, x0, rng)
    said = generator.network(point.state, t.to(x0), conditions, given)
    wanted = valid.expand(x0.shape) if given is None else valid & ~given.known
    errors = torch.where(wanted, said.float() - target, 0.0).square()
    each = errors.flatten(1).sum(dim=1) / wanted.flatten(1).sum(dim=1).clamp(min=1)
    return LossRecord(each.mean(), {})


def _times(generator: Any, count: int, rng: torch.Generator) -> Float[Tensor, " batch"]:
    """One time a sample, each in its own part of their distribution, so that every batch sees early and late ones."""
    path = generator.path
    spread = (torch.randperm(count, generator=rng) + torch.rand(count, generator=rng, dtype=torch.float64)) / count
    times = generator.times.at(1 - spread)
    if isinstance(path, VariancePreserving):
        steps = path.timesteps
        return (times * steps).ceil().clamp(min=1, max=steps) / steps
    return times


def _conditions(generator: Any, batch: Mapping[str, Tensor], rng: torch.Generator) -> ConditionBatch | None:
    columns = {name: value for name, value in batch.items() if name != VALUES}
    if not columns:
        return None
    drop = torch.rand(len(batch[VALUES]), generator=rng) < generator.drop
    return ConditionBatch.of(columns).dropped(drop.to(batch[VALUES].device))


def _given(generator: Any, x0: Tensor, rng: torch.Generator) -> GivenBatch | None:
    if "given" not in generator.understands:
        return None
    groups = _groups(generator)
    shown = torch.rand(len(x0), len(groups), generator=rng) < torch.rand(len(x0), 1, generator=rng)
    shown &= torch.rand(len(x0), 1, generator=rng) < GIVEN_SHARE
    hidden = torch.randint(len(groups), (len(x0), 1), generator=rng)
    shown &= ~shown.all(dim=1, keepdim=True) | (torch.arange(len(groups)) != hidden)  # something is left to say
    known = (shown.double() @ groups.double()) > 0  # (B, T)
    return GivenBatch(x0, known.to(x0.device)[:, :, None].expand(x0.shape) & generator.space.valid.to(x0.device))


def _groups(generator: Any) -> Bool[Tensor, "tensor token"]:
    """Which tokens belong to which tensor."""
    tensors, meanings = generator.given_tensors, generator.space.meanings
    return torch.tensor([[meaning.tensor == name for meaning in meanings] for name in tensors])
