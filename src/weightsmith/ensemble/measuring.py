"""Measure how fast each way of training is on this machine, in a second or two, so that the fastest can be chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from weightsmith.datasets import Split
from weightsmith.ensemble.plan import METHODS, Member, Method, TrainingPlan
from weightsmith.ensemble.steppers import can, make_stepper
from weightsmith.layout import Layout, Weights

GROUP_SIZES = (16, 32, 64, 128, 256)
STACK_BYTES = 1_000_000_000  # of weights and moments of the networks that one worker holds
_IMAGES = 4096
_SECONDS = 0.4
_COPIES = 6  # of the weights: themselves, their gradients, two moments, those in the products' dtype, and captures


@dataclass(frozen=True)
class Rate:
    """`steps` optimizer steps of single networks a second, by one worker of `threads` threads."""

    method: Method
    group_size: int
    threads: int
    steps: float


def measure_rate(
    method: Method,
    group_size: int,
    threads: int,
    module: nn.Module,
    split: Split,
    plan: TrainingPlan,
    device: torch.device,
    seconds: float = _SECONDS,
    check: Callable[[], None] = lambda: None,
) -> Rate:
    """The rate of one method, from real steps on some of the images; the first, which warm up, do not count."""
    weights = Weights.of(module)[[0] * group_size]
    members = [Member(i, 1e-4) for i in range(group_size)]
    some = split.head(_IMAGES)
    orders = 1 if plan.order_seed is not None else group_size
    generator = torch.Generator().manual_seed(0)
    with _threads(threads):
        stepper = make_stepper(method, module, weights, some, plan, members, device)
        started, done = time.perf_counter(), -2
        while done < 1 or time.perf_counter() - started < seconds:
            check()
            rows = torch.randint(len(some), (orders, min(plan.batch_size, len(some))), generator=generator)
            stepper.step(rows.to(device)).cpu()
            done += 1
            if done == 0:
                started = time.perf_counter()
        return Rate(method, group_size, threads, done * group_size / (time.perf_counter() - started))


def worth_trying(device: torch.device) -> tuple[Method, ...]:
    """The methods that may be fastest on a device: on a CPU vmap is slower than a loop."""
    return METHODS if device.type == "cuda" else ("loop", "stacked")


def candidates(module: nn.Module, methods: Sequence[Method], most: int) -> list[tuple[Method, int]]:
    """These methods, where the module allows them, with the sizes of groups to try, at most `most` networks."""
    size = Layout.of(module).parameters * 4 * _COPIES
    sizes = sorted({min(n, most) for n in GROUP_SIZES if n == GROUP_SIZES[0] or n * size <= STACK_BYTES})
    return [(method, n) for method in methods if can(method, module) for n in ([1] if method == "loop" else sizes)]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
