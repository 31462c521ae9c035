"""Autograd order: the nodes behind a run's outputs, in the order in which they were run."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable
from typing import Any

from torch import Tensor


def in_order(outputs: Iterable[Tensor], entries: Container[Any]) -> list[Any]:
    """Every operation's node behind the outputs, up to leaves and entries: makers first, then by time."""
    children: dict[Any, list[Any]] = {}
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node not in children and not begins(node, entries):
            children[node] = [maker for maker, _ in node.next_functions if maker and not begins(maker, entries)]
            waiting += children[node]
    return _sorted(children)


def begins(node: Any, entries: Container[Any]) -> bool:
    """Whether a path begins here: at an input, or at a leaf that gathers gradients."""
    return node in entries or node.name().endswith("::AccumulateGrad")


def outputs_in_use(nodes: Iterable[Any], outputs: Iterable[Tensor]) -> dict[Any, set[int]]:
    """Which outputs of every node others read, or are outputs of all."""
    used: dict[Any, set[int]] = {}
    for node in nodes:
        for maker, number in node.next_functions:
            if maker is not None:
                used.setdefault(maker, set()).add(number)
    for output in outputs:
        if output.grad_fn is not None:
            used.setdefault(output.grad_fn, set()).add(output.output_nr)
    return used


def _sorted(makers: dict[Any, list[Any]]) -> list[Any]:
    """Topologically, the earliest first among those that are ready."""
    times = {node: (node._sequence_nr(), i) for i, node in enumerate(makers)}
    missing = {node: len(set(found)) for node, found in makers.items()}
    readers: dict[Any, list[Any]] = {}
    for node, found in makers.items():
        for maker in set(found):
            readers.setdefault(maker, []).append(node)
    ready = [(*times[node], node) for node in makers if not missing[node]]
    heapq.heapify(ready)
    result = []
    while ready:
        *_, node = heapq.heappop(ready)
        result.append(node)
        for reader in readers.get(node, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (*times[reader], reader))
    return result
