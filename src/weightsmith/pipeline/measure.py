"""Measure a run: every generator along its steps, the originals and the baselines, on the test split, as records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightsmith.architectures import Architecture
from weightsmith.ensemble import Evaluation, choose_device, choose_precision, evaluate
from weightsmith.environment import command_line, describe_environment
from weightsmith.evaluation.dependence import Dependence, Spread
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.histograms import weight_histograms
from weightsmith.generators.baselines import FixedGenerator, copy_of, extrapolation_of, mean_of
from weightsmith.hashed import HashedLog, canonical_json
from weightsmith.interfaces import Condition
from weightsmith.interruption import check_interrupted
from weightsmith.layout import Weights
from weightsmith.pipeline.folder import RunFolder
from weightsmith.record import Record
from weightsmith.report.verdict import MEAN_BASELINE
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Row, RowInfo, Zoo

if TYPE_CHECKING:
    from weightsmith.pipeline.stages import Reporter


def measure_run(run: RunFolder, architecture: Architecture, reporter: Reporter) -> None:
    """Write the records that are missing, one unit (a pipeline, a generator) at a time, so that it can be resumed."""
    log = HashedLog(run.records)
    done = {record["details"].get("unit") for record in log.read().records}
    bench = Bench(run, architecture)
    units = [unit for unit in bench.units() if unit.name not in done]
    if not units:
        return
    reporter.stage("evaluating on the test images", len(units))
    for unit in units:
        check_interrupted()
        records = [bench.record(unit, *facts) for facts in unit.measure()]
        log.append([record.to_json() for record in records])
        reporter.advance(unit.name)


LARGEST_NORM = 1e18  # above it, squares and products of weights overflow float32


@dataclass(frozen=True)
class Unit:
    """A piece of the evaluation whose records are written together; `measure` gives their facts."""

    name: str
    measure: Any


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


Facts = tuple[str, Mapping[str, Any], Mapping[str, float | None], Mapping[str, Any]]


class Bench:
    """The test split, the distance and the original networks that everything in a run is measured against."""

    def __init__(self, run: RunFolder, architecture: Architecture) -> None:
        self.run, self.architecture, self.settings = run, architecture, run.recipe.evaluation
        self.zoo = Zoo.open(run.zoo)
        self.module = architecture.build(0)
        self.device = choose_device(run.recipe.device)
        self.distance = NetworkDistance.of(self.module, run.dataset.train)
        self._environment = canonical_json(describe_environment())
        self._command = command_line()

    def units(self) -> Iterator[Unit]:
        yield Unit("original networks", self._originals)
        for pipeline in range(len(self.zoo.runs)):
            yield Unit(f"pipeline {pipeline}: baselines", lambda p=pipeline: self._baselines(p))
            for budget in self.run.recipe.training.budgets:
                yield Unit(f"pipeline {pipeline}: {budget}", lambda p=pipeline, b=budget: self._generated(p, b))
        yield Unit("weights and distances", self._pictures)

    def record(
        self, unit: Unit, kind: str, subject: Mapping[str, Any], metrics: Mapping[str, Any], details: Mapping[str, Any]
    ) -> Record:
        dataset, test = self.run.dataset, self.run.dataset.test
        measured_on = {
            "dataset": dataset.name,
            "split": "test",
            "images": len(test.images),
            "fingerprint": dataset.fingerprint,
            "precision": self.settings.precision,
            "distance": self.distance.name,
        }
        details = {"unit": unit.name, **details}
        return Record(kind, subject, measured_on, metrics, self._command, self._environment, details)

    def measured(self, weights: Weights) -> Measured:
        evaluations = evaluate(
            self.module,
            weights,
            self.run.dataset.test,
            batch_size=self.settings.batch_size,
            precision=choose_precision(self.settings.precision, self.device),
            device=self.device,
        )
        sound = _sound(weights)
        canonical = self.distance.canonical(weights[sound]) if sound else weights[:0]
        return Measured(weights, evaluations, sound, canonical)

    def nearest(self, found: Measured, references: Weights | None) -> list[float | None]:
        """The distance of each network to its nearest reference; `None` where there is none to be taken."""
        result: list[float | None] = [None] * len(found.weights)
        if found.sound and references is not None:
            for position, value in zip(found.sound, self.distance.nearest(found.canonical, references), strict=True):
                result[position] = float(value)
        return result

    def spread(self, found: Measured) -> Spread:
        return Spread.of(self.distance, found.canonical, found.predictions)

    @cached_property
    def trajectories(self) -> list[tuple[Weights, list[Row]]]:
        return [self.zoo.trajectory(run) for run in self.zoo.runs]

    @cached_property
    def canonical_trajectories(self) -> list[Weights]:
        return [self.distance.canonical(weights[_sound(weights)]) for weights, _ in self.trajectories]

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

    def _originals(self) -> Iterator[Facts]:
        """Each original network; its distance is to the nearest checkpoint of the *other* runs: held-out networks."""
        for pipeline, (weights, rows) in enumerate(self.trajectories):
            others = [c for i, c in enumerate(self.canonical_trajectories) if i != pipeline]
            found = self.measured(weights)
            nearest = self.nearest(found, Weights.concatenate(others) if others else None)
            for position, row in enumerate(rows):
                metrics = _performance(found.evaluations[position])
                metrics["nearest_other_run_distance"] = nearest[position]
                subject = {"run": row.run, "step": row.step, "sha256": row.sha256}
                yield "original", subject, metrics, {"validation": dict(row.metrics)}
        spread = self.independent
        metrics = {"distance": spread.distance, "disagreement": spread.disagreement}
        yield "independent", {"networks": spread.networks}, metrics, {"parameters": self.architecture.layout.parameters}

    def _baselines(self, pipeline: int) -> Iterator[Facts]:
        """What costs nothing: copying, averaging and extrapolating the training checkpoints; and the unseen inits."""
        weights, rows = self.trajectories[pipeline]
        synthesizer = self._synthesizer(pipeline, self.run.recipe.training.headline)
        tokens = synthesizer.codec.encode(weights)
        best = max(range(len(rows)), key=lambda i: (rows[i].metrics["accuracy"] or 0.0, i))
        generators: dict[str, tuple[FixedGenerator, str]] = {
            "copy of the best checkpoint": (copy_of(tokens, best), f"step {rows[best].step}, chosen on validation"),
            MEAN_BASELINE: (mean_of(tokens), "all, the initial weights included"),
            "mean of the trained checkpoints": (mean_of(tokens[1:]), "all but the initial weights"),
            "linear extrapolation": (extrapolation_of(tokens), "last step repeated"),
        }
        for name, (generator, note) in generators.items():
            final = generator.sample(1, Condition(), torch.Generator()).final
            found = self.measured(synthesizer.codec.decode(final, weights.layout))
            metrics = _performance(found.evaluations[0])
            nearest = self.nearest(found, self.canonical_trajectories[pipeline])
            metrics["nearest_checkpoint_distance"] = nearest[0]
            yield "baseline", {"pipeline": pipeline, "name": name}, metrics, {"note": note}
        yield from self._steps(pipeline, None, [self.unseen_inits(pipeline)], first=0)

    def _generated(self, pipeline: int, budget: str) -> Iterator[Facts]:
        """One generator, from every unseen init, along its steps."""
        synthesizer = self._synthesizer(pipeline, budget)
        inits, steps = self.unseen_inits(pipeline), self.settings.steps
        trajectory = synthesizer.trajectory(len(inits), start=inits, steps=steps)
        keys = {"loss", "loss of the mean", "seconds", "updates", "epochs"} & synthesizer.provenance.keys()
        metrics = {key.replace(" ", "_"): synthesizer.provenance[key] for key in sorted(keys)}
        yield "training", {"pipeline": pipeline, "budget": budget}, metrics, {"codec": synthesizer.codec.exactness}
        facts = list(self._steps(pipeline, budget, trajectory[1:], first=1))
        if budget == self.run.recipe.training.headline:
            self._keep(pipeline, budget, trajectory[1:], facts)
        yield from facts

    def _steps(self, pipeline: int, budget: str | None, states: Sequence[Weights], first: int) -> Iterator[Facts]:
        """Each network of each step, and how much the step depends on the init."""
        for step, weights in enumerate(states, first):
            check_interrupted()
            found = self.measured(weights)
            nearest = self.nearest(found, self.canonical_trajectories[pipeline])
            where = {"pipeline": pipeline, "budget": budget, "step": step}
            for init, evaluation in enumerate(found.evaluations):
                metrics = _performance(evaluation) | {"nearest_checkpoint_distance": nearest[init]}
                yield "generated" if budget else "init", {**where, "init": init}, metrics, {}
            spread = self.spread(found)
            dependence = Dependence.of(spread, self.independent)
            metrics = {**dependence.__dict__, "distance": spread.distance, "disagreement": spread.disagreement}
            yield "dependence", where, metrics, {"inits": spread.networks}

    def _keep(self, pipeline: int, budget: str, states: Sequence[Weights], facts: Sequence[Facts]) -> None:
        """Save the headline generator's samples as a zoo: the format that can be audited, exported and imported."""
        if not (self.run.samples / "zoo.json").exists():
            Zoo.create(self.run.samples, {"made by": "weightsmith evaluate"})
        metrics = {(f[1]["step"], f[1]["init"]): f[2] for f in facts if f[0] == "generated"}
        synthesizer = self.run.synthesizer(pipeline, budget).relative_to(self.run.path)
        provenance = {
            "architecture": self.architecture.to_json(),
            "synthesizer": str(synthesizer),
            "measured_on": "test",
        }
        with Zoo.writer(self.run.samples) as writer:
            for init in range(len(states[0])):
                name = f"pipeline {pipeline}, init {init}"
                if name in writer.zoo.runs:
                    continue
                seed = derive_seed(self.run.recipe.seed, "pipeline", pipeline, "unseen init", init)
                rows = [RowInfo(name, step, seed, metrics[step, init]) for step in range(1, len(states) + 1)]
                writer.append(Weights.concatenate([state[init] for state in states]), rows, provenance)

    def _pictures(self) -> Iterator[Facts]:
        """Histograms of weights and distances among checkpoints and samples of the first pipeline, for the report."""
        weights, rows = self.trajectories[0]
        labels = [f"epoch {row.step}" for row in rows]
        samples = Zoo.open(self.run.samples)
        last = self.settings.steps
        wanted = [row for row in samples.rows if str(row.run).startswith("pipeline 0,") and row.step in (1, last)]
        wanted.sort(key=lambda row: (row.step, str(row.run)))
        generated = samples.read(wanted) if wanted else weights[:0]
        shown = _sound(generated)
        labels += [f"init {str(wanted[i].run).rpartition(' ')[2]}, step {wanted[i].step}" for i in shown]
        everything = self.distance.canonical(Weights.concatenate([weights, generated[shown]]))
        matrix = self.distance.between(everything, everything).tolist()
        yield "distance matrix", {"pipeline": 0}, {}, {"labels": labels, "matrix": matrix}
        networks = {"random init": weights[0], f"trained, epoch {rows[-1].step}": weights[-1]}
        if shown:
            networks[f"generated, step {wanted[shown[-1]].step}"] = generated[shown[-1]]
        yield "histograms", {"pipeline": 0}, {}, {"layers": weight_histograms(networks)}

    def _synthesizer(self, pipeline: int, budget: str) -> Synthesizer:
        return Synthesizer.load(Path(self.run.synthesizer(pipeline, budget)))


def _performance(evaluation: Evaluation) -> dict[str, float | None]:
    """Accuracy and losses; all `None` for a network whose outputs are not finite, which predicts nothing."""
    if not math.isfinite(evaluation.loss):
        return {"accuracy": None, "loss": None, "note_loss": None}
    return {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "note_loss": evaluation.note_loss}


def _sound(weights: Weights) -> list[int]:
    """Positions of the networks that distances can be taken of; a generator that blew up gives others."""
    return torch.nonzero(weights.vectors.double().norm(dim=1) < LARGEST_NORM)[:, 0].tolist()
