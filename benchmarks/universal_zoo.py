"""Train the zoo of many architectures that a flow over weights learns from; run again, it goes on."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.harness import WORK
from weightsmith.datasets import DatasetRequest
from weightsmith.pipeline.mixed import MixedZooPlan, build_mixed_zoo


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.universal_zoo", description=__doc__)
    options.add_argument("--out", type=Path, default=WORK / "universal-zoo", help="the folder of the zoo")
    options.add_argument("--networks", type=int, default=400, help="one of each of so many architectures")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--workers", type=int, default=1, help="processes; each trains one network at a time")
    options.add_argument("--dataset", default="mnist", help="mnist, or digits where MNIST cannot be had")
    options.add_argument("--seed", type=int, default=0)
    wanted = options.parse_args()
    if wanted.workers == 1:
        torch.set_num_threads(1)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", file=sys.stderr, flush=True)

    plan = MixedZooPlan(wanted.networks, epochs=wanted.epochs, seed=wanted.seed)
    zoo = build_mixed_zoo(wanted.out, DatasetRequest(wanted.dataset), plan, wanted.workers, say)
    print(f"{len(zoo)} networks of {len(zoo.layouts)} layouts in {wanted.out}")


if __name__ == "__main__":
    main()
