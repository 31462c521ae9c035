"""Train the universal synthesizer that comes with the package, in phases, and save it.

Each phase goes on from the averaged weights of the one before it, and is resumed where it was stopped. The recipe
`mnist-universal` trains one of the same kind in a single phase.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import weightsmith as ws
from benchmarks.harness import WORK, parser
from weightsmith.datasets import Dataset, DatasetRequest
from weightsmith.environment import command_line
from weightsmith.generators.universal import UniversalGenerator, make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.objectives.task import IMAGES, LABELS, TaskLoss
from weightsmith.tensorfile import read_tensors, write_tensors
from weightsmith.training import LoopSettings, Trainer, TrainingProgress
from weightsmith.universal import Coverage, UniversalSynthesizer

UPDATES_PER_EPOCH = 100
BATCH = 256
LOG, STATE, AVERAGED = "log.jsonl", "state", "averaged.safetensors"


@dataclass(frozen=True)
class Phase:
    """`updates` at `rate`; each draws some of the `pool` of architectures. `fixed_share`: see `HypernetworkSizes`."""

    name: str
    updates: int
    fixed_share: float
    rate: float = 1.5e-3
    schedule: Literal["constant", "cosine"] = "constant"
    pool: int = 700
    architectures: int = 6
    blur: float = 0.0


# Codes that are the same for all networks learn several times as fast; then part of them is drawn anew.
PHASES = (
    Phase("begin", 700, 1.0, pool=150),
    Phase("fixed", 2500, 1.0),
    Phase("drawn", 2500, 0.8),
    Phase("blurred", 4000, 0.8, rate=1.2e-3, schedule="cosine", blur=0.1),
)


def main() -> None:
    options = parser("universal_training", __doc__ or "")
    options.add_argument("--out", type=Path, default=Path(ws.__file__).parent / "pretrained" / "mnist-universal")
    options.add_argument("--workers", type=int, default=2)
    wanted = options.parse_args()
    torch.set_num_threads(1)
    data, work = ws.load_dataset(wanted.dataset), WORK / "universal" / "training"
    averaged, history = None, []
    for phase in PHASES:
        averaged, told = conduct(phase, averaged, data, work / phase.name, wanted.workers)
        history.append({**asdict(phase), **told})
    assert averaged is not None
    save(averaged, PHASES[-1], history, data, wanted.out)


def conduct(
    phase: Phase, before: Path | None, data: Dataset, folder: Path, workers: int
) -> tuple[Path, Mapping[str, Any]]:
    """Do what is missing of a phase; its averaged weights and what is known of its course."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / AVERAGED).exists():
        _train(phase, before, data, folder, workers)
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()] if (folder / LOG).exists() else []
    peaks = [line["peak_rss_mb"] for line in lines if line.get("peak_rss_mb")]
    told = {"seconds": lines[-1]["seconds"], "loss": lines[-1]["loss"]} if lines else {}
    return folder / AVERAGED, {**told, "peak_rss_mb": max(peaks, default=None)}


def _train(phase: Phase, before: Path | None, data: Dataset, folder: Path, workers: int) -> None:
    generator = generator_of(phase, before)
    pool = ArchitecturePool("training", phase.pool)
    objective = TaskLoss(pool, phase.architectures, phase.blur, workers)
    settings = LoopSettings(
        optimizer="muon",
        schedule=phase.schedule,
        planned_epochs=phase.updates // UPDATES_PER_EPOCH,
        warmup_updates=100,
        clip_norm=1.0,
        ema_decay=0.999,
        updates_per_epoch=UPDATES_PER_EPOCH,
        skip_nonfinite=20,
    )

    def on_epoch(progress: TrainingProgress) -> None:
        line = {"phase": phase.name, **progress.document(), "peak_rss_mb": objective.peak_memory}
        with (folder / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), file=sys.stderr, flush=True)

    examples = {IMAGES: data.train.images, LABELS: data.train.labels}
    with contextlib.closing(objective):
        trainer = Trainer(
            generator,  # type: ignore[arg-type]  # it makes no tokens; the loop asks for its network alone
            objective,
            examples,
            BATCH,
            phase.rate,
            0,
            folder / STATE,
            on_epoch,
            settings=settings,
        )
        trainer.run(phase.updates // UPDATES_PER_EPOCH)
        trainer.finish()
    write_tensors(folder / AVERAGED, generator.network.state_dict())


def generator_of(phase: Phase, weights: Path | None) -> UniversalGenerator:
    """The generator of a phase, with these weights or at its start."""
    generator = make_universal(0, HypernetworkSizes(fixed_share=phase.fixed_share))
    if weights is not None:
        generator.network.load_state_dict(read_tensors(weights)[0])
    return generator


def save(averaged: Path, phase: Phase, history: list[dict[str, Any]], data: Dataset, folder: Path) -> None:
    """Write the synthesizer in place of one that is there, with what was done to get it."""
    pool = ArchitecturePool("training", phase.pool)
    covers = Coverage.of((pool.extent(number) for number in range(len(pool))), DatasetRequest(data.name), data)
    peaks = [entry["peak_rss_mb"] for entry in history if entry.get("peak_rss_mb")]
    provenance = {"command": command_line(), "phases": history, "peak_rss_mb": max(peaks, default=None)}
    shutil.rmtree(folder, ignore_errors=True)
    UniversalSynthesizer(generator_of(phase, averaged), covers, provenance).save(folder, compact=True)


if __name__ == "__main__":
    main()
