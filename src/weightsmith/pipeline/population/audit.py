"""Audit: what every set of networks of one member is measured with, and against."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from weightsmith.datasets import Dataset, Split
from weightsmith.ensemble import Evaluation, choose_precision, evaluate, recalibrated
from weightsmith.evaluation.copying import data_copying_score, dispersion_ratio
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.nearest import Nearest, nearest_other, nearest_reference, sound_networks
from weightsmith.evaluation.novelty import Examined, Novelty
from weightsmith.evaluation.overlap import largest_overlap, largest_overlap_with_others
from weightsmith.layout import Weights
from weightsmith.pipeline.bench import Bench, Fact
from weightsmith.pipeline.population.members import Member
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Synthesizer
from weightsmith.tokens import Tokens


@dataclass(frozen=True)
class Measured:
    """Networks with their evaluations on test images, and the canonical forms of those that are sound."""

    weights: Weights
    evaluations: Sequence[Evaluation]
    sound: Tensor
    canonical: Weights

    @property
    def wrong(self) -> Tensor:
        """Which test images each network gets wrong, `[network, image]`."""
        return torch.stack([one.predictions != one.labels for one in self.evaluations])


class Audit:
    """The training and held-out networks of a member, which samples and baselines are compared with.

    A member of one data set is measured on its images, any other on those of the run.
    """

    def __init__(self, bench: Bench, member: Member) -> None:
        self.bench, self.member = bench, member

    @cached_property
    def dataset(self) -> Dataset:
        run, name = self.bench.run, self.member.dataset
        return run.dataset if name is None else run.datasets[name]

    @cached_property
    def module(self) -> torch.nn.Module:
        return self.member.architecture.build(0)

    @cached_property
    def distance(self) -> NetworkDistance:
        return NetworkDistance.of(self.module, self.dataset)

    @cached_property
    def synthesizer(self) -> Synthesizer:
        """The headline's."""
        return self.synthesizer_of(self.bench.run.recipe.training.headline)

    def synthesizer_of(self, budget: str) -> Synthesizer:
        form = self.member.architecture
        typed = form.name if form.typed_by_user and not form.is_registered else None
        folder = self.bench.run.synthesizer(self.member.number, budget)
        loaded = Synthesizer.load(folder, typed)
        self.member.require_learned(loaded.provenance, folder)
        return loaded

    @cached_property
    def training(self) -> Measured:
        """The last network of every run that was learned from."""
        return self.measured(self.member.read(self.bench.zoo, "train", finals=True))

    @cached_property
    def held_out(self) -> Measured | None:
        """The last network of every run that was held out, if there are any."""
        if not self.member.finals["held_out"]:
            return None
        return self.measured(self.member.read(self.bench.zoo, "held_out", finals=True))

    def decoded(self, tokens: Tokens) -> Weights:
        return self.synthesizer.codec.decode(tokens, self.synthesizer.layout)

    def measured(self, weights: Weights, complete: bool = False) -> Measured:
        """Networks on the test images; `complete`: their running statistics as the recipe says, where they have any."""
        bench, data = self.bench, self.dataset
        if complete and bench.run.recipe.population.statistics == "recalibrated":
            weights = recalibrated(self.module, weights, data.train, device=bench.device)
        evaluations = self._evaluated(weights, data.test)
        sound = sound_networks(weights)
        canonical = self.distance.canonical(weights[torch.nonzero(sound)[:, 0].tolist()])
        return Measured(weights, evaluations, sound, canonical)

    def validation_accuracies(self, weights: Weights) -> list[float]:
        """Accuracies on validation images, by which something may be chosen; 0 for outputs that are not finite."""
        return [self.accuracy(one) or 0.0 for one in self._evaluated(weights, self.dataset.validation)]

    def _evaluated(self, weights: Weights, split: Split) -> list[Evaluation]:
        settings, device = self.bench.settings, self.bench.device
        precision = choose_precision(settings.precision, device)
        return evaluate(self.module, weights, split, batch_size=settings.batch_size, precision=precision, device=device)

    def facts(self, kind: str, name: str, found: Measured) -> Iterator[Fact]:
        """One fact a network, and one of the set."""
        subject = {"member": self.member.name, "set": kind, "name": name}
        examined = self._examined(kind, found)
        for i, evaluation in enumerate(found.evaluations):
            accuracy = self.accuracy(evaluation)
            metrics = {"accuracy": accuracy, "loss": None if accuracy is None else evaluation.loss}
            if examined is not None:
                metrics |= {"nearest_distance": _known(examined.distance[i])}
                metrics |= {"error_overlap": _known(examined.overlap[i])}
            yield Fact("network", {**subject, "network": i}, metrics)
        if examined is not None:
            metrics, details = self._audited(kind, found, examined)
            yield Fact("audit", subject, metrics, details)
        elif self.member.is_single and len(found.canonical) > 1:
            yield Fact("audit", subject, {"spread_over_distance": self.distance.mean_pairwise(found.canonical)})

    @staticmethod
    def accuracy(evaluation: Evaluation) -> float | None:
        """`None` for a network whose outputs are not finite, which predicts nothing."""
        return evaluation.accuracy if math.isfinite(evaluation.loss) else None

    def _examined(self, kind: str, found: Measured) -> Examined | None:
        """How near each network lies to the training networks; nothing where there is only one of these."""
        if self.member.is_single or not bool(self.training.sound.all()):
            return None
        if kind == "training":
            nearest, overlap = self._training_nearest, largest_overlap_with_others(found.wrong)
        else:
            nearest = nearest_reference(self.distance, found.canonical, self.training.canonical)
            overlap = largest_overlap(found.wrong, self.training.wrong)
        distance = torch.full((len(found.weights),), torch.nan, dtype=torch.float64)
        distance[found.sound] = nearest.distances.double()
        right = [self.accuracy(one) for one in found.evaluations]
        accuracy = torch.tensor([math.nan if value is None else value for value in right], dtype=torch.float64)
        return Examined(distance, overlap.double(), accuracy)

    @cached_property
    def _training_nearest(self) -> Nearest:
        return nearest_other(self.distance, self.training.canonical)

    @cached_property
    def _references(self) -> tuple[Examined, Examined] | None:
        """The training networks and the held-out ones, examined; nothing where a rule cannot be had from them."""
        if self.held_out is None or not bool(self.held_out.sound.all()):
            return None
        training, held_out = self._examined("training", self.training), self._examined("held out", self.held_out)
        return None if training is None or held_out is None else (training, held_out)

    def _audited(
        self, kind: str, found: Measured, examined: Examined
    ) -> tuple[dict[str, float | None], dict[str, object]]:
        overlaps = examined.overlap[examined.sound]
        metrics: dict[str, float | None] = {"error_overlap": float(overlaps.median()) if len(overlaps) else None}
        if kind == "training" or self._references is None or self.held_out is None:
            return metrics, {}
        training, held_out = self._references
        novelty = Novelty.of(examined, held_out, training)
        metrics |= {
            "nearest_ratio": novelty.nearest_ratio,
            "novel": novelty.samples.novel,
            "performant": novelty.samples.performant,
            "novel_and_performant": novelty.samples.both,
            "held_out_novel_and_performant": novelty.held_out.both,
        }
        if bool(examined.sound.any()):
            metrics["data_copying_score"] = data_copying_score(examined.distance[examined.sound], held_out.distance)
            rng = torch.Generator().manual_seed(derive_seed(self.bench.run.recipe.seed, "pairs"))
            metrics["dispersion_ratio"] = dispersion_ratio(
                self.distance, found.canonical, self.held_out.canonical, rng, max_pairs=300
            )
        sweep = [
            {"quantile": row.quantile, "margin": row.margin, "samples": row.samples.both, "held_out": row.held_out.both}
            for row in novelty.sweep
        ]
        return metrics, {"sweep": sweep}


def _known(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
