"""The bench: what every network of a run is measured with and against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from weightsmith.ensemble import Evaluation, choose_device, choose_precision, evaluate
from weightsmith.environment import command_line, describe_environment
from weightsmith.evaluation.dependence import Spread
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.nearest import sound_networks as are_sound
from weightsmith.hashed import canonical_json
from weightsmith.layout import Weights
from weightsmith.pipeline.folder import RunFolder
from weightsmith.record import Record
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Row, Zoo


@dataclass(frozen=True)
class Fact:
    """What a record says, before it is told what it was measured on."""

    kind: str
    subject: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    details: Mapping[str, Any] = field(default_factory=dict)
    distance: str | None = None  # its name, where it is not that of the recipe's own architecture


@dataclass(frozen=True)
class Measured:
    """Networks with what the records need of them; `canonical` holds the `sound` ones alone."""

    weights: Weights
    evaluations: Sequence[Evaluation]
    sound: Sequence[int]
    canonical: Weights

    @property
    def predictions(self) -> Tensor:
        """Of the sound networks, `[network, image]`."""
        chosen = [self.evaluations[i].predictions for i in self.sound]
        return torch.stack(chosen) if chosen else torch.empty(0, 0, dtype=torch.int64)


class Bench:
    """The test split, the distance and the original networks that everything in a run is measured against."""

    def __init__(self, run: RunFolder) -> None:
        self.run, self.architecture, self.settings = run, run.architecture, run.recipe.evaluation
        self.device = choose_device(run.recipe.device)
        self._environment = canonical_json(describe_environment())
        self._command = command_line()

    @cached_property
    def zoo(self) -> Zoo:
        return Zoo.open(self.run.zoo)

    @cached_property
    def module(self) -> nn.Module:
        """A network of the run's form; built when something is measured, since a run's own code may not be to hand."""
        return self.architecture.build(0)

    @cached_property
    def distance(self) -> NetworkDistance:
        return NetworkDistance.of(self.module, self.run.dataset)

    def record(self, unit: str, unit_size: int, fact: Fact, data: str | None = None) -> Record:
        """A fact with what it was measured on (one of several data sets by its name), by which command and where."""
        dataset = self.run.dataset if data is None else self.run.datasets[data]
        measured_on = {
            "dataset": dataset.name if data is None else data,
            "split": "test",
            "images": len(dataset.test.images),
            "fingerprint": dataset.fingerprint,
            "precision": self.settings.precision,
            "distance": fact.distance or self.distance.name,
        }
        details = {"unit": unit, "unit_size": unit_size, **fact.details}
        return Record(fact.kind, fact.subject, measured_on, fact.metrics, self._command, self._environment, details)

    def measured(self, weights: Weights) -> Measured:
        evaluations = evaluate(
            self.module,
            weights,
            self.run.dataset.test,
            batch_size=self.settings.batch_size,
            precision=choose_precision(self.settings.precision, self.device),
            device=self.device,
        )
        sound = sound_networks(weights)
        return Measured(weights, evaluations, sound, self.distance.canonical(weights[sound]))

    def nearest(self, found: Measured, references: Weights | None) -> list[tuple[float | None, int | None]]:
        """Distance and position of each network's nearest reference; `None` where there is none to be taken."""
        result: list[tuple[float | None, int | None]] = [(None, None)] * len(found.weights)
        if found.sound and references is not None:
            for position, value in zip(found.sound, self.distance.nearest(found.canonical, references), strict=True):
                result[position] = value
        return result

    def spread(self, found: Measured) -> Spread:
        return Spread.of(self.distance, found.canonical, found.predictions)

    @cached_property
    def trajectories(self) -> list[tuple[Weights, list[Row]]]:
        return [self.zoo.trajectory(run) for run in range(len(self.zoo.runs))]  # runs are stored as they end

    @cached_property
    def canonical_trajectories(self) -> list[Weights]:
        return [self.distance.canonical(weights[sound_networks(weights)]) for weights, _ in self.trajectories]

    @cached_property
    def independent(self) -> Spread:
        """How far independently trained networks lie apart: the last checkpoint of every run."""
        return self.spread(self.measured(Weights.concatenate([weights[-1] for weights, _ in self.trajectories])))

    def unseen_inits(self, pipeline: int) -> Weights:
        """Random initial networks that no run started from."""
        seeds = [
            derive_seed(self.run.recipe.seed, "pipeline", pipeline, "unseen init", i)
            for i in range(self.settings.inits)
        ]
        return Weights.of(*[self.architecture.build(seed) for seed in seeds])

    def synthesizer(self, pipeline: int, budget: str) -> Synthesizer:
        """The saved synthesizer of one pipeline and budget."""
        return Synthesizer.load(self.run.synthesizer(pipeline, budget))


def sound_networks(weights: Weights) -> list[int]:
    """Positions of the networks that distances can be taken of; a generator that blew up gives others."""
    return torch.nonzero(are_sound(weights))[:, 0].tolist()
