"""Measure a population experiment: real networks, samples and baselines by one audit, on the test split, as records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from weightsmith.evaluation.histograms import weight_histograms
from weightsmith.evaluation.nearest import sound_networks
from weightsmith.interfaces import Condition
from weightsmith.layout import Weights, layers_of
from weightsmith.pipeline.bench import Bench, Fact
from weightsmith.pipeline.population.audit import Audit
from weightsmith.pipeline.population.baselines import population_baselines
from weightsmith.pipeline.population.given import given_facts
from weightsmith.pipeline.population.members import Member, members_of
from weightsmith.pipeline.units import Unit
from weightsmith.seeds import derive_seed
from weightsmith.settings.experiment import told_datasets
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import RowInfo, Zoo

Measure = Callable[[], Iterator[Fact]]
RATE_SECONDS = 2.0  # sampling is repeated for so long, after once for nothing


def units(bench: Bench) -> Iterator[Unit]:
    """Everything that is measured of a population experiment, of every member and data set apart."""
    for member in members_of(bench.run, bench.zoo):
        for i, share in enumerate(member.shares(told_datasets(bench.run.recipe))):
            audit = Audit(bench, share)
            for name, measured in _measures(audit, member if i == 0 else None):
                yield Unit(f"{share.name}: {name}", partial(_by_its_distance, audit, measured), share.dataset)


def _by_its_distance(audit: Audit, measured: Measure) -> Iterator[Fact]:
    """The facts with the distance of the member's architecture, which need not be the recipe's."""
    for fact in measured():
        yield replace(fact, distance=audit.distance.name)


def _measures(audit: Audit, costs: Member | None) -> Iterator[tuple[str, Measure]]:
    """What is measured against one audit, by name; `costs`: the member whose training is recorded on the way."""
    recipe, member = audit.bench.run.recipe, audit.member
    yield "real networks", partial(_real, audit)
    for budget in recipe.training.budgets:
        yield budget, partial(_generated, audit, budget, costs)
    for sampler, steps in recipe.evaluation.samplers.items():
        yield sampler, partial(_sampled, audit, recipe.training.headline, sampler, steps)
    if not member.is_single:
        yield "baselines", partial(_baselines, audit)
    if recipe.evaluation.wanted:
        yield "by accuracy", partial(_wanted, audit)
    if recipe.evaluation.given and member.finals["held_out"]:
        for layer in layers_of(member.architecture.layout):
            yield f"{layer} given the rest", partial(given_facts, audit, layer)
    yield "weights", partial(_pictures, audit)


def _real(audit: Audit) -> Iterator[Fact]:
    """The networks that were learned from, those held out, and what the codec makes of them."""
    yield from audit.facts("training", "", audit.training)
    if audit.held_out is None:
        return
    yield from audit.facts("held out", "", audit.held_out)
    decoded = audit.decoded(audit.synthesizer.encode(audit.held_out.weights))
    yield from audit.facts("reconstructed", "", audit.measured(decoded, complete=True))


def _generated(audit: Audit, budget: str, costs: Member | None) -> Iterator[Fact]:
    """Unselected samples of one budget, as its generator samples by itself; the headline's are kept as a zoo.

    And what the generator cost, as a fact of the member `costs`.
    """
    synthesizer = audit.synthesizer_of(budget)
    weights = _sample(audit, synthesizer)
    found = audit.measured(weights, complete=True)
    facts = list(audit.facts("generated", budget, found))
    if budget == audit.bench.run.recipe.training.headline:
        _keep(audit, budget, found.weights, facts)
    yield from facts
    if costs is not None:
        yield _cost(audit, synthesizer, costs, budget)


def _cost(audit: Audit, synthesizer: Synthesizer, member: Member, budget: str) -> Fact:
    """How a generator was trained, and how fast it samples."""
    origin = synthesizer.provenance
    numbers = {name: origin.get(name) for name in ("loss", "updates", "epochs", "seconds", "validation_loss")}
    parameters = sum(p.numel() for p in synthesizer.generator.network.parameters())
    rate = _rate(audit, synthesizer)
    space = synthesizer.codec.space()
    details = {
        "architecture": {"name": member.architecture.name, "options": dict(member.architecture.options)},
        "network_parameters": synthesizer.layout.parameters,
        "parts": {
            part: {"runs": len(member.finals[part]), "networks": len(rows)} for part, rows in member.parts.items()
        },
        "options": dict(synthesizer.generator_part.options),
        "codec": synthesizer.codec_part.name,
        "exactness": synthesizer.codec.exactness,
        "generator": synthesizer.generator_part.name,
        "tokens": len(space),
        "token_dim": space.dim,
    }
    metrics = {**numbers, "parameters": parameters, "samples_per_second": rate}
    return Fact("training", {"member": member.name, "budget": budget}, metrics, details)


def _sampled(audit: Audit, budget: str, sampler: str, steps: int) -> Iterator[Fact]:
    """The headline's generator with another sampler."""
    synthesizer = audit.synthesizer_of(budget)
    weights = _sample(audit, synthesizer, sampler=sampler, steps=steps)
    yield from audit.facts("generated", f"{budget}, {sampler} {steps}", audit.measured(weights, complete=True))


def _sample(audit: Audit, synthesizer: Synthesizer, **how: Any) -> Weights:
    settings, seed = audit.bench.settings, derive_seed(audit.bench.run.recipe.seed, "samples", audit.member.number)
    return synthesizer.sample(settings.samples, seed=seed, **audit.member.asked, **how)


def _rate(audit: Audit, synthesizer: Synthesizer) -> float:
    """Networks a second, decoding included, as the generator samples by itself."""
    count, asked = audit.bench.settings.samples, audit.member.asked
    synthesizer.sample(count, seed=0, **asked)
    done, started = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - started < RATE_SECONDS:
        synthesizer.sample(count, seed=done, **asked)
        done += count
    return done / (time.perf_counter() - started)


def _baselines(audit: Audit) -> Iterator[Fact]:
    """Samples of generators that learn nothing, in the coordinates of the same codec."""
    for name, generator in population_baselines(audit).items():
        rng = torch.Generator().manual_seed(derive_seed(audit.bench.run.recipe.seed, "baseline", name))
        final = generator.sample(audit.bench.settings.samples, Condition(), rng).final
        yield from audit.facts("baseline", name, audit.measured(audit.decoded(final), complete=True))


def _wanted(audit: Audit) -> Iterator[Fact]:
    """Networks asked for by accuracies evenly over what the zoo holds (validation accuracies)."""
    rows = audit.member.parts["train"]
    accuracies = [float(value) for row in rows if (value := row.metrics.get("accuracy")) is not None]
    low, high = audit.bench.settings.wanted_from, audit.bench.settings.wanted_to
    least, most = min(accuracies) if low is None else low, max(accuracies) if high is None else high
    wanted = torch.linspace(least, most, audit.bench.settings.wanted)
    seed = derive_seed(audit.bench.run.recipe.seed, "wanted", audit.member.number)
    samples = audit.synthesizer.sample(len(wanted), accuracy=wanted, seed=seed, **audit.member.asked)
    found = audit.measured(samples, complete=True)
    for i, (asked, evaluation) in enumerate(zip(wanted.tolist(), found.evaluations, strict=True)):
        subject = {"member": audit.member.name, "sample": i}
        yield Fact("wanted", subject, {"wanted": asked, "accuracy": audit.accuracy(evaluation)})


def _keep(audit: Audit, budget: str, weights: Weights, facts: list[Fact]) -> None:
    """Save the headline's samples as a zoo: the format that can be audited, exported and imported."""
    run, member = audit.bench.run, audit.member
    if not (run.samples / "zoo.json").exists():
        Zoo.create(run.samples, {"made by": "weightsmith evaluate"})
    numbers = [fact.metrics for fact in facts if fact.kind == "network"]
    synthesizer = run.synthesizer(member.number, budget).relative_to(run.path)
    provenance = {
        "architecture": member.architecture.to_json(),
        "synthesizer": str(synthesizer),
        "measured_on": "test",
    }
    if member.dataset is not None:
        provenance["dataset"] = {"name": member.dataset, "fingerprint": audit.dataset.fingerprint}
    with Zoo.writer(run.samples) as writer:
        rows = [RowInfo(f"{member.name}, sample {i}", 0, i, metrics) for i, metrics in enumerate(numbers)]
        there = {*writer.zoo.runs, *(row.run for row in writer.zoo.quarantined)}
        missing = [i for i, row in enumerate(rows) if row.run not in there]
        if missing:
            writer.append(weights[missing], [rows[i] for i in missing], provenance)


def _pictures(audit: Audit) -> Iterator[Fact]:
    """Histograms of the weights of a training network, a held-out one and a sample, layer by layer."""
    networks = {"training": audit.training.weights[0]}
    if audit.held_out is not None:
        networks["held out"] = audit.held_out.weights[0]
    samples = _sample(audit, audit.synthesizer)
    sound = torch.nonzero(sound_networks(samples))[:, 0].tolist()
    if sound:
        networks["generated"] = samples[sound[0]]
    yield Fact("histograms", {"member": audit.member.name}, {}, {"layers": weight_histograms(networks)})
