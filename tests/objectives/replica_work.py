"""A generator of one number, and work on it, for replicas that are started anew."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightsmith.errors import BadInput
from weightsmith.objectives.replicas import Found, Replicas


class Holder:
    """As a generator: something with a network."""

    def __init__(self, value: float) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.network.weight.fill_(value)


def multiplied(generator: Any, job: Any) -> Found:
    """The product with the generator's number, and which process computed it, in place of its seconds."""
    if job == "fail":
        raise BadInput("job 'fail' fails", "give another")
    if isinstance(job, Path):
        job.write_text(str(os.getpid()))
        time.sleep(1)
        return Found(0.0, torch.zeros(1), os.getpid())
    value = float(generator.network.weight.detach()) * job
    return Found(value, torch.full((1,), 10 * value), os.getpid())


def start_and_wait(folder: Path) -> None:
    """Keep a replica busy for a moment, and write down who it is."""
    Replicas(1, 2, Holder(1.0), multiplied).results([2.0, folder / "replica"], [1.0, 0.1])


_begun = 0


def noted(generator: Any, job: Any) -> Found:
    """How many jobs this process had begun before."""
    global _begun
    _begun += 1
    return Found(_begun - 1.0, torch.zeros(1), 0.0)
