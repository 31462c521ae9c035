"""Measure a universal synthesizer: networks for architectures of every split on test images, beside random inits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from weightsmith.architectures.families import Split
from weightsmith.ensemble import Evaluation, choose_precision, evaluate, has_running_statistics, recalibrated
from weightsmith.evaluation.overlap import error_overlap
from weightsmith.layout import Layout, Weights
from weightsmith.pipeline.bench import Bench, Fact
from weightsmith.pipeline.metrics import read_metrics
from weightsmith.pipeline.units import Unit
from weightsmith.pipeline.universal.drawn import measured, measured_splits
from weightsmith.seeds import derive_seed
from weightsmith.universal import UniversalSynthesizer

TOGETHER = 8  # architectures whose records are written together
SAMPLES = 2  # networks of each: the first counts, the second says how alike they are


def units(bench: Bench) -> Iterator[Unit]:
    """Everything that is measured of a universal experiment."""
    measuring, count = _Measuring(bench), bench.run.recipe.universal.evaluated
    for split in measured_splits(bench.run):
        for start in range(0, count, TOGETHER):
            places = range(start, min(start + TOGETHER, count))
            yield Unit(f"{split} from {start}", partial(_networks, measuring, split, places))
    yield Unit("training", partial(_training, measuring))


@dataclass(frozen=True)
class _Measuring:
    bench: Bench

    @cached_property
    def synthesizer(self) -> UniversalSynthesizer:
        return UniversalSynthesizer.load(self.bench.run.universal)

    def evaluated(self, module: nn.Module, weights: Weights) -> list[Evaluation]:
        settings, device = self.bench.settings, self.bench.device
        precision = choose_precision(settings.precision, device)
        test = self.bench.run.dataset.test
        return evaluate(module, weights, test, batch_size=settings.batch_size, precision=precision, device=device)

    def with_statistics(self, module: nn.Module, weights: Weights) -> Weights:
        """Running statistics measured on training images, where there are any."""
        return recalibrated(module, weights, self.bench.run.dataset.train, device=self.bench.device)


def _networks(measuring: _Measuring, split: Split, places: Sequence[int]) -> Iterator[Fact]:
    for place in places:
        yield from _architecture(measuring, split, place)


def _architecture(measuring: _Measuring, split: Split, place: int) -> Iterator[Fact]:
    """Unselected networks for one architecture, and its random init."""
    number, form = measured(measuring.bench.run, split, place)
    subject: dict[str, Any] = {"split": split, "family": form.name, "number": number}
    seed = derive_seed(measuring.bench.run.recipe.seed, "universal", "evaluation", split, number)
    module = form.build(derive_seed(seed, "init"))
    started = time.perf_counter()
    reading = measuring.synthesizer.read(module)
    traced = time.perf_counter()
    written = measuring.synthesizer.write(reading, SAMPLES, seed, recalibrate=False, check=False)
    seconds = {"tracing_seconds": traced - started, "seconds": (time.perf_counter() - traced) / SAMPLES}
    weights = Layout.of(module).flatten(written.networks)
    found = measuring.evaluated(module, measuring.with_statistics(module, weights))
    bare = measuring.evaluated(module, weights[:1])[0] if has_running_statistics(module) else None
    details = {"options": dict(form.options), "parameters": sum(p.numel() for p in module.parameters())}
    for sample, one in enumerate(found):
        own: dict[str, float | None] = {**_accuracy(one), **(seconds if sample == 0 else {})}
        if sample == 0 and bare is not None:
            own["accuracy_without_statistics"] = _accuracy(bare)["accuracy"]
        yield _fact("network", {**subject, "set": "generated", "sample": sample}, own, details)
    wrong = torch.stack([one.predictions != one.labels for one in found])
    yield _fact("pair", subject, {"error_overlap": float(error_overlap(wrong[:1], wrong[1:]))})
    start = measuring.evaluated(module, measuring.with_statistics(module, Weights.of(module)))[0]
    yield _fact("network", {**subject, "set": "random init", "sample": 0}, _accuracy(start), details)


def _accuracy(found: Evaluation) -> dict[str, float | None]:
    """No accuracy for a network whose outputs are not finite, which predicts nothing."""
    finite = math.isfinite(found.loss)
    return {"accuracy": found.accuracy if finite else None, "loss": found.loss if finite else None}


def _training(measuring: _Measuring) -> Iterator[Fact]:
    """What the synthesizer cost, and how its training went."""
    synthesizer, run = measuring.synthesizer, measuring.bench.run
    origin = synthesizer.provenance
    metrics: dict[str, float | None] = {
        "parameters": sum(parameter.numel() for parameter in synthesizer.generator.network.parameters()),
        "bytes": (run.universal / "model.safetensors").stat().st_size,
        **{name: origin[name] for name in ("epochs", "updates", "loss", "seconds", "peak_rss_mb")},
    }
    universal = run.recipe.universal
    details = {
        "families": universal.families.weights,
        "splits": universal.splits,
        "pool": universal.pool,
        "architectures": universal.architectures,
        "objective": universal.objective,
        "workers": universal.workers,
    }
    yield _fact("training", {}, metrics, details)
    kept = ("epoch", "updates", "loss", "gradient_norm", "seconds", "monitors")
    yield _fact(
        "curve",
        {},
        {},
        {"epochs": [{name: line[name] for name in kept if name in line} for line in read_metrics(run.metrics)]},
    )


def _fact(
    kind: str, subject: dict[str, Any], metrics: dict[str, float | None], details: dict[str, Any] | None = None
) -> Fact:
    return Fact(kind, subject, metrics, details or {}, distance="none")
