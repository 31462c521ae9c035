"""Measure a run: every generator along its steps, the originals and the baselines, on the test split, as records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from weightsmith.ensemble import Evaluation
from weightsmith.evaluation.dependence import Dependence
from weightsmith.evaluation.histograms import weight_histograms
from weightsmith.generators.baselines import FixedGenerator, copy_of, extrapolation_of, mean_of
from weightsmith.interfaces import Condition
from weightsmith.interruption import check_interrupted
from weightsmith.layout import Weights
from weightsmith.pipeline.bench import Bench, Fact, sound_networks
from weightsmith.pipeline.units import Unit
from weightsmith.report.trajectory.verdict import MEAN_BASELINE
from weightsmith.seeds import derive_seed
from weightsmith.zoo import RowInfo, Zoo


def units(bench: Bench) -> Iterator[Unit]:
    """Everything that is measured of a trajectory experiment."""
    yield Unit("original networks", partial(_originals, bench))
    for pipeline in range(len(bench.zoo.runs)):
        yield Unit(f"pipeline {pipeline}: baselines", partial(_baselines, bench, pipeline))
        for budget in bench.run.recipe.training.budgets:
            yield Unit(f"pipeline {pipeline}: {budget}", partial(_generated, bench, pipeline, budget))
    yield Unit("weights and distances", partial(_pictures, bench))


def _originals(bench: Bench) -> Iterator[Fact]:
    """Each original network; its distance is to the nearest checkpoint of the *other* runs: held-out networks."""
    for pipeline, (weights, rows) in enumerate(bench.trajectories):
        others = [c for i, c in enumerate(bench.canonical_trajectories) if i != pipeline]
        found = bench.measured(weights)
        nearest = bench.nearest(found, Weights.concatenate(others) if others else None)
        for position, row in enumerate(rows):
            metrics = _performance(found.evaluations[position])
            metrics["nearest_other_run_distance"] = nearest[position][0]
            subject = {"run": row.run, "step": row.step, "sha256": row.sha256}
            yield Fact("original", subject, metrics, {"validation": dict(row.metrics)})
    spread = bench.independent
    metrics = {"distance": spread.distance, "disagreement": spread.disagreement}
    yield Fact(
        "independent", {"networks": spread.networks}, metrics, {"parameters": bench.architecture.layout.parameters}
    )


def _baselines(bench: Bench, pipeline: int) -> Iterator[Fact]:
    """What costs nothing: copying, averaging and extrapolating the training checkpoints; and the unseen inits."""
    weights, rows = bench.trajectories[pipeline]
    synthesizer = bench.synthesizer(pipeline, bench.run.recipe.training.headline)
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
        found = bench.measured(synthesizer.codec.decode(final, weights.layout))
        metrics = _performance(found.evaluations[0])
        nearest = bench.nearest(found, bench.canonical_trajectories[pipeline])
        metrics["nearest_checkpoint_distance"] = nearest[0][0]
        yield Fact("baseline", {"pipeline": pipeline, "name": name}, metrics, {"note": note})
    yield from _steps(bench, pipeline, None, [bench.unseen_inits(pipeline)], first=0)


def _generated(bench: Bench, pipeline: int, budget: str) -> Iterator[Fact]:
    """One generator, from every unseen init, along its steps."""
    synthesizer = bench.synthesizer(pipeline, budget)
    inits, steps = bench.unseen_inits(pipeline), bench.settings.steps
    trajectory = synthesizer.trajectory(len(inits), start=inits, steps=steps)
    keys = {"loss", "loss of the mean", "seconds", "updates", "epochs"} & synthesizer.provenance.keys()
    metrics = {key.replace(" ", "_"): synthesizer.provenance[key] for key in sorted(keys)}
    details = {
        "codec": synthesizer.codec_part.name,
        "exactness": synthesizer.codec.exactness,
        "generator": synthesizer.generator_part.name,
        "token_dim": synthesizer.dim,
    }
    yield Fact("training", {"pipeline": pipeline, "budget": budget}, metrics, details)
    facts = list(_steps(bench, pipeline, budget, trajectory[1:], first=1))
    if budget == bench.run.recipe.training.headline:
        _keep(bench, pipeline, budget, trajectory[1:], facts)
    yield from facts


def _steps(bench: Bench, pipeline: int, budget: str | None, states: Sequence[Weights], first: int) -> Iterator[Fact]:
    """Each network of each step, and how much the step depends on the init."""
    for step, weights in enumerate(states, first):
        check_interrupted()
        found = bench.measured(weights)
        nearest = bench.nearest(found, bench.canonical_trajectories[pipeline])
        where = {"pipeline": pipeline, "budget": budget, "step": step}
        for init, evaluation in enumerate(found.evaluations):
            distance, checkpoint = nearest[init]
            metrics = _performance(evaluation)
            metrics |= {"nearest_checkpoint_distance": distance, "nearest_checkpoint_step": checkpoint}
            yield Fact("generated" if budget else "init", {**where, "init": init}, metrics)
        spread = bench.spread(found)
        dependence = Dependence.of(spread, bench.independent)
        metrics = {**dependence.__dict__, "distance": spread.distance, "disagreement": spread.disagreement}
        yield Fact("dependence", where, metrics, {"inits": spread.networks})


def _keep(bench: Bench, pipeline: int, budget: str, states: Sequence[Weights], facts: Sequence[Fact]) -> None:
    """Save the headline generator's samples as a zoo: the format that can be audited, exported and imported."""
    if not (bench.run.samples / "zoo.json").exists():
        Zoo.create(bench.run.samples, {"made by": "weightsmith evaluate"})
    metrics = {(f.subject["step"], f.subject["init"]): f.metrics for f in facts if f.kind == "generated"}
    synthesizer = bench.run.synthesizer(pipeline, budget).relative_to(bench.run.path)
    provenance = {
        "architecture": bench.architecture.to_json(),
        "synthesizer": str(synthesizer),
        "measured_on": "test",
    }
    with Zoo.writer(bench.run.samples) as writer:
        there = {*writer.zoo.runs, *(row.run for row in writer.zoo.quarantined)}
        for init in range(len(states[0])):
            name = f"pipeline {pipeline}, init {init}"
            if name in there:
                continue
            seed = derive_seed(bench.run.recipe.seed, "pipeline", pipeline, "unseen init", init)
            rows = [RowInfo(name, step, seed, metrics[step, init]) for step in range(1, len(states) + 1)]
            writer.append(Weights.concatenate([state[init] for state in states]), rows, provenance)


def _pictures(bench: Bench) -> Iterator[Fact]:
    """Histograms of weights and distances among checkpoints and samples of the first pipeline, for the report."""
    weights, rows = bench.trajectories[0]
    labels = [f"epoch {row.step}" for row in rows]
    samples = Zoo.open(bench.run.samples)
    last = bench.settings.steps
    wanted = [row for row in samples.rows if str(row.run).startswith("pipeline 0,") and row.step in (1, last)]
    wanted.sort(key=lambda row: (row.step, str(row.run)))
    generated = samples.read(wanted) if wanted else weights[:0]
    shown = sound_networks(generated)
    labels += [f"init {str(wanted[i].run).rpartition(' ')[2]}, step {wanted[i].step}" for i in shown]
    everything = bench.distance.canonical(Weights.concatenate([weights, generated[shown]]))
    matrix = bench.distance.between(everything, everything).tolist()
    yield Fact("distance matrix", {"pipeline": 0}, {}, {"labels": labels, "matrix": matrix})
    networks = {"random init": weights[0], f"trained, epoch {rows[-1].step}": weights[-1]}
    if shown:
        networks[f"generated, step {wanted[shown[-1]].step}"] = generated[shown[-1]]
    yield Fact("histograms", {"pipeline": 0}, {}, {"layers": weight_histograms(networks)})


def _performance(evaluation: Evaluation) -> dict[str, float | None]:
    """Accuracy and losses; all `None` for a network whose outputs are not finite, which predicts nothing."""
    if not math.isfinite(evaluation.loss):
        return {"accuracy": None, "loss": None, "note_loss": None}
    return {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "note_loss": evaluation.note_loss}
