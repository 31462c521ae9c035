"""How much of everything is measured: the figures of the benchmark at its defaults, a quick look with less."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Budget:
    """Counts of architectures are a split's.

    `architectures`: written and measured; `trained`: trained to convergence; `zoo`: trained ones of the training split,
    of families that are measured, from which `nearest_zoo` takes; `overlapping`: whose errors are compared;
    `compared`: of other generators, written and measured; `finetuned`: trained on. `inits`, `init_epochs`: of the
    start-conditioned part. `traced`: timed. `repeats` of every timing. `epochs` at most and `patience` of early
    stopping; `ridge_images` that a head is solved on; `finetune_epochs` at the main learning rate and `rate_epochs` at
    the others.
    """

    architectures: int = 100
    trained: int = 20
    zoo: int = 20
    compared: int = 20
    overlapping: int = 10
    finetuned: int = 6
    inits: int = 8
    init_epochs: int = 5
    traced: int = 20
    repeats: int = 9
    epochs: int = 5
    patience: int = 2
    ridge_images: int = 20_000
    finetune_epochs: int = 5
    rate_epochs: int = 2

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """An option for every count."""
        for field in fields(cls):
            name = field.name.replace("_", "-")
            parser.add_argument(f"--{name}", type=int, default=field.default, help=f"default {field.default}")

    @classmethod
    def of(cls, wanted: argparse.Namespace) -> Budget:
        return cls(**{field.name: getattr(wanted, field.name) for field in fields(cls)})

    def to_json(self) -> dict[str, int]:
        return asdict(self)
