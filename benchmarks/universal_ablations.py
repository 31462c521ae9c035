"""What each choice of the universal synthesizer is worth: variants of it, and other generators, trained alike.

`--which NAME --minutes M` trains one in `OUT/NAME`; run again, it goes on, also towards more minutes.
`benchmarks.universal --others NAME=OUT/NAME ...` measures what comes of it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import WORK, peak_rss_mb
from weightsmith.datasets import Dataset, DatasetRequest, load_dataset
from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line, describe_environment
from weightsmith.errors import BadInput, WeightsmithError
from weightsmith.generators.graph_flow import make_graph_flow
from weightsmith.generators.tiled import make_tiled
from weightsmith.generators.universal import make_universal
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.checkpoints import Checkpoints
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.interfaces import Objective
from weightsmith.interruption import check_interrupted, deferred_signals
from weightsmith.objectives.combined import Combined
from weightsmith.objectives.graph_matching import NETWORK, GraphMatching
from weightsmith.objectives.task import IMAGES, LABELS, TaskLoss
from weightsmith.pipeline.metrics import MetricsLog
from weightsmith.pipeline.mixed import read_checkpoints
from weightsmith.tensorfile import read_tensors, write_tensors
from weightsmith.training import LoopSettings, Trainer, TrainingProgress
from weightsmith.zoo import Zoo

UPDATES = 50  # an epoch
BATCH = 256  # images an update, of which dear architectures see fewer
GENERATOR = "generator.json"  # beside its weights
SKIPPED = 20  # batches in a row that may be left out: an architecture now and then blows up


@dataclass(frozen=True)
class Variant:
    """`make(seed)` gives the generator; `learns` from task loss, from checkpoints by a flow, or from both."""

    make: Callable[[int], Any]
    learns: str = "task"
    largest_gradient: float = 1.0


def _with(**changes: Any) -> Variant:
    return Variant(lambda seed: make_universal(seed, HypernetworkSizes(**changes)))


VARIANTS: Mapping[str, Variant] = {
    "full": _with(),
    "no-context": _with(context=0),
    "attention": _with(attention=True),
    "no-standardise": _with(standardised=False),
    "no-modulation": _with(modulated=False),
    "rank-64": _with(rank=64),
    "fixed-codes": _with(fixed_share=1.0),
    "no-clip": Variant(make_universal, largest_gradient=math.inf),
    "ghn": Variant(make_tiled),
    "flow": Variant(make_graph_flow, "flow"),
    "both": Variant(make_graph_flow, "both"),
}


def train(which: str, wanted: argparse.Namespace, data: Dataset) -> tuple[Any, TrainingProgress]:
    """Train a variant for `wanted.minutes` in all; the generator holds the averaged weights afterwards."""
    variant, folder = VARIANTS[which], wanted.out / which
    generator = variant.make(wanted.seed)
    device = choose_device(wanted.device)
    zoo = _checkpoints(wanted.zoo) if variant.learns != "task" else None
    if zoo is not None:
        generator.network.fit((zoo.blueprint(number), zoo.weights[number]) for number in range(len(zoo)))
    generator.network.to(device)
    objective, examples = _objective(variant, wanted, data, zoo)
    log = MetricsLog(folder / "log.jsonl")

    def on_epoch(progress: TrainingProgress) -> None:
        log.epoch(0, progress)
        if progress.epoch % 10 == 0:
            print(f"{progress.seconds:7.0f} s  {progress.updates} updates, loss {progress.loss:.4f}", file=sys.stderr)

    trainer = Trainer(
        generator,
        objective,
        {name: value.to(device) for name, value in examples.items()},
        wanted.networks if variant.learns == "flow" else BATCH,
        wanted.learning_rate,
        wanted.seed,
        folder / "state",
        on_epoch=on_epoch,
        check=check_interrupted,
        settings=LoopSettings(
            optimizer="muon",
            warmup_updates=100,
            clip_norm=1.0,
            ema_decay=0.998,
            precision=wanted.precision,
            updates_per_epoch=UPDATES,
            skip_nonfinite=SKIPPED,
        ),
    )
    log.rewind(0, trainer.progress.epoch)
    with contextlib.closing(log):
        while trainer.progress.seconds < 60 * wanted.minutes:
            trainer.run(trainer.progress.epoch + 1)
    trainer.save()
    trainer.finish()
    generator.network.cpu()
    return generator, trainer.progress


def _objective(
    variant: Variant, wanted: argparse.Namespace, data: Dataset, zoo: Checkpoints | None
) -> tuple[Objective, dict[str, Tensor]]:
    images = {IMAGES: data.train.images, LABELS: data.train.labels}
    if variant.learns == "flow":
        assert zoo is not None
        return GraphMatching(zoo), {NETWORK: torch.arange(len(zoo))}
    pool = ArchitecturePool("training", wanted.pool, input_shape=data.input_shape, classes=data.classes)
    for number in range(len(pool)):  # tracing is no part of the minutes
        check_interrupted()
        pool[number]
    task = TaskLoss(pool, wanted.networks, largest_gradient=variant.largest_gradient)
    return (task if zoo is None else Combined(GraphMatching(zoo), task, wanted.networks)), images


def _checkpoints(folder: Path) -> Checkpoints:
    zoo = read_checkpoints(Zoo.open(folder))
    for number in range(len(zoo)):
        check_interrupted()
        zoo.blueprint(number)
    return zoo


def save(generator: Any, which: str, folder: Path, training: Mapping[str, Any]) -> None:
    """Write the weights, which variant they are of, and what there is to say of their training."""
    state = {name: value.contiguous() for name, value in generator.network.state_dict().items()}
    write_tensors(folder / "generator.safetensors", state)
    document = {"variant": which, "sizes": asdict(generator.network.sizes), "training": dict(training)}
    write_sealed_json(folder / GENERATOR, document)


def load(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """The generator that `save` wrote, and what it said of the training.

    Raises `BadInput` for a variant that is not known, or has changed since.
    """
    document = read_sealed_json(folder / GENERATOR)
    which = document["variant"]
    if which not in VARIANTS:
        raise BadInput(f"unknown variant {which!r} in {folder}", f"known: {', '.join(VARIANTS)}")
    generator = VARIANTS[which].make(0)
    if asdict(generator.network.sizes) != document["sizes"]:
        raise BadInput(f"{folder} holds {which!r} of other sizes: {document['sizes']}", "train it again")
    generator.network.load_state_dict(read_tensors(folder / "generator.safetensors")[0])
    generator.network.eval()
    return generator, document["training"]


def options() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m benchmarks.universal_ablations", description=__doc__)
    result.add_argument("--which", choices=list(VARIANTS), required=True)
    result.add_argument("--minutes", type=float, required=True, help="of training in all, tracing not counted")
    result.add_argument("--out", type=Path, default=WORK / "universal-ablations")
    result.add_argument("--zoo", type=Path, default=WORK / "universal-zoo", help="what flow and both learn from")
    result.add_argument("--dataset", default="mnist", help="mnist, or digits where MNIST cannot be had")
    result.add_argument("--device", default="cpu", help="auto takes a GPU where there is one")
    result.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    result.add_argument("--threads", type=int, default=1)
    result.add_argument("--learning-rate", type=float, default=7e-4)
    result.add_argument("--networks", type=int, default=6, help="architectures, or checkpoints, an update")
    result.add_argument("--pool", type=int, default=300, help="architectures that are trained on")
    result.add_argument("--seed", type=int, default=0)
    return result


def run(wanted: argparse.Namespace) -> dict[str, Any]:
    """Train and save one variant; what there is to say of its training."""
    folder = wanted.out / wanted.which
    folder.mkdir(parents=True, exist_ok=True)
    data = load_dataset(DatasetRequest(wanted.dataset))
    with deferred_signals():
        generator, progress = train(wanted.which, wanted, data)
    told = {
        "command": command_line(),
        **{key: str(value) for key, value in describe_environment().items() if key in ("commit", "processor", "torch")},
        "parameters": sum(p.numel() for p in generator.network.parameters()),
        "minutes": wanted.minutes,
        "device": wanted.device,
        **{key: value for key, value in progress.document().items() if key in ("updates", "seconds", "loss", "epoch")},
        "peak_rss_mb": peak_rss_mb(),
    }
    save(generator, wanted.which, folder, told)
    return told


def main() -> None:
    wanted = options().parse_args()
    torch.set_num_threads(wanted.threads)
    try:
        told = run(wanted)
    except WeightsmithError as error:
        print(f"{error.message}; {error.remedy}", file=sys.stderr)
        sys.exit(error.exit_status)
    print(f"{told['updates']} updates in {told['seconds']:.0f} s, loss {told['loss']:.4f}: {wanted.out / wanted.which}")


if __name__ == "__main__":
    main()
