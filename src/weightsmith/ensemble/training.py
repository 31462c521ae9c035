"""Train networks: epochs over a split, captures on the way, and a state that training resumes from bitwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from weightsmith.datasets import Split
from weightsmith.ensemble.optimizers import moments_of, restore_moments
from weightsmith.ensemble.plan import Capture, Member, Method, TrainingPlan, TrainingState, order_seed, orders
from weightsmith.ensemble.steppers import Stepper, make_stepper
from weightsmith.layout import Weights


def train_networks(
    module: nn.Module,
    weights: Weights,
    split: Split,
    plan: TrainingPlan,
    members: Sequence[Member],
    *,
    method: Method = "loop",
    device: torch.device | str = "cpu",
    resume: TrainingState | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Capture]:
    """Train networks `[network, parameters]` of the form of `module`, one a member, and yield them as they go.

    There is a capture after every epoch, and every `plan.capture_steps` steps where that is given. Resumed from the
    state of any epoch, training is bitwise the uninterrupted one (same processor, method, precision, threads and
    companions). `check` is called before every batch and may raise. A network that diverges does not disturb the
    others: its losses or weights are not finite from then on. Raises `BadInput` for a method that does not fit.
    """
    device = torch.device(device)
    stepper = make_stepper(method, module, resume.weights if resume else weights, split, plan, members, device)
    if resume:
        restore_moments(stepper.optimizer, resume.optimizer)
    for epoch in range(resume.epoch if resume else 0, plan.epochs):
        yield from _epoch(stepper, plan, members, epoch + 1, len(split), device, check)


def _epoch(
    stepper: Stepper,
    plan: TrainingPlan,
    members: Sequence[Member],
    epoch: int,
    images: int,
    device: torch.device,
    check: Callable[[], None],
) -> Iterator[Capture]:
    """One pass over the images, in the order and with the noise that the seeds give for this epoch."""
    batches = orders(plan, members, epoch, images).to(device).split(plan.batch_size, dim=1)
    total, seen, noise = torch.zeros(len(members), device=device), 0, _Noise(members[0], epoch, device)
    for number, rows in enumerate(batches, 1):
        check()
        with noise:
            losses = stepper.step(rows)
        total, seen = total + losses * rows.shape[1], seen + rows.shape[1]
        step, last = (epoch - 1) * len(batches) + number, number == len(batches)
        if last or (plan.capture_steps and step % plan.capture_steps == 0):
            found = stepper.weights()
            state = TrainingState(epoch, found, moments_of(stepper.optimizer)) if last else None
            yield Capture(step, epoch if last else epoch - 1, found, (total / seen).cpu(), state)


class _Noise:
    """The random state of layers such as dropout: its own, so that the caller's is left as it was."""

    def __init__(self, member: Member, epoch: int, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=self._devices):
            torch.manual_seed(order_seed(member.seed, epoch))
            self._state = self._get()

    def __enter__(self) -> None:
        self._outside = self._get()
        self._set(self._state)

    def __exit__(self, *_: object) -> None:
        self._state = self._get()
        self._set(self._outside)

    def _get(self) -> list[torch.Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self._devices)]

    def _set(self, states: list[torch.Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)
