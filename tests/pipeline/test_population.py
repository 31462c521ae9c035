"""A population experiment on the digits, end to end: parts by run, samples, baselines, report, resume, bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from weightsmith.errors import BadInput
from weightsmith.layout import Weights
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.pipeline.population.members import members_of
from weightsmith.record import read_records
from weightsmith.report.population import summarise
from weightsmith.report.population.verdict import verdict
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Zoo

TEXT = """\
name: population
description: A population of seconds.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 20, epochs: 6, precision: fp32, method: stacked, group_size: 10, workers: 1, threads: 1}
population: {held_out: 0.2}
codec: {name: unit, options: {width: 40, canonical: true}}
generator: {name: diffusion, options: {width: 16, blocks: 1, conditions: [accuracy], given: true, steps: 4}}
training: {budgets: {none: 0, some: 3}, headline: some, batch_size: 8, updates: 5, validate_every: 1, average: 0.9}
evaluation: {samples: 6, precision: fp32, samplers: {euler: 2}, wanted: 4, given: 2}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(TEXT, "population", overrides)


@pytest.fixture(scope="module", autouse=True)
def _no_rates() -> Iterator[None]:
    """How fast a generator samples is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weightsmith.pipeline.population.measure.RATE_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_pipeline(recipe(), tmp_path_factory.mktemp("population") / "run")


def test_parts_are_cut_by_run(run: RunFolder) -> None:
    (member,) = members_of(run, Zoo.open(run.zoo))
    runs = {part: {row.run for row in rows} for part, rows in member.parts.items()}
    assert {part: len(names) for part, names in runs.items()} == {"train": 14, "validation": 2, "held_out": 4}
    assert len(set().union(*runs.values())) == 20
    assert all(row.step == 6 for rows in member.finals.values() for row in rows)


def test_every_set_is_measured_and_shown(run: RunFolder) -> None:
    summary = summarise(read_records(run.records))
    sets = {(row["set"], row["name"]): row for row in summary.sets}
    assert {name for kind, name in sets if kind == "generated"} == {"none", "some", "some, euler 2"}
    assert len([name for kind, name in sets if kind == "baseline"]) == 9
    assert {row["networks"] for row in summary.sets if row["set"] in ("generated", "baseline")} == {6}
    held_out, copies = sets["held out", ""], sets["baseline", "best training network"]
    assert held_out["nearest_ratio"] == 1.0
    assert copies["nearest_ratio"] == pytest.approx(0, abs=1e-3)
    assert copies["novel"] == 0
    assert sets["training", ""]["accuracy_mean"] == pytest.approx(held_out["accuracy_mean"], abs=0.1)
    assert sets["reconstructed", ""]["accuracy_mean"] == pytest.approx(held_out["accuracy_mean"], abs=1e-9)
    assert len(summary.wanted) == 4
    assert {row["layer"] for row in summary.given} == {"fc1", "fc2"}
    page = run.report.read_text()
    assert all(text in page for text in ("Gaussian of principal components", "held out", "fc2", "How it was made"))
    assert (run.plots / "audit.png").stat().st_size > 10_000
    said = " ".join(verdict(summary, "some"))
    assert "unselected samples" in said
    assert "nearest ratio" in said


def test_samples_are_kept_as_a_zoo_and_follow_from_the_seed(run: RunFolder) -> None:
    zoo = Zoo.open(run.samples)
    zoo.verify()
    assert len(zoo) == 6
    synthesizer = Synthesizer.load(run.synthesizer(0, "some"))
    first, again = (synthesizer.sample(3, seed=4).vectors for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, synthesizer.sample(3, seed=5).vectors)


def test_given_layers_come_back_in_the_function_that_they_had(run: RunFolder) -> None:
    """Both layers given: nothing is left to generate, and the network is the given one up to its symmetries."""
    synthesizer, zoo = Synthesizer.load(run.synthesizer(0, "some")), Zoo.open(run.zoo)
    network = zoo.read(zoo.rows[3:4])
    found = synthesizer.sample(2, given=network, layers=["fc1", "fc2"])
    module = synthesizer.architecture.build(0)
    inputs = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = []
    for state in (network.states()[0], *found.states()):
        module.load_state_dict(state)
        outputs.append(module(inputs))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-3, atol=1e-4)
    some = synthesizer.sample(1, given=network, layers=["fc1"])
    canonical = synthesizer.canonical(network)
    span = slice(*synthesizer.layout.offsets["fc1.weight"])
    torch.testing.assert_close(some.vectors[:, span], canonical.vectors[:, span], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(some.vectors, canonical.vectors, atol=1e-2)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"layers": ["fc1"]}, "without networks"),
        ({"given": True}, "without names of layers"),
        ({"given": True, "layers": ["fc9"]}, "fc9.*fc1, fc2"),
        ({"accuracy": 0.05}, "0.05"),
        ({"loss": 0.5}, "loss"),
        ({"colour": 1}, "colour"),
        ({"sampler": "eulr"}, "euler"),
    ],
)
def test_wishes_that_it_cannot_grant_are_refused_by_name(run: RunFolder, wanted: dict[str, object], said: str) -> None:
    synthesizer, zoo = Synthesizer.load(run.synthesizer(0, "some")), Zoo.open(run.zoo)
    if "given" in wanted:
        wanted = {**wanted, "given": zoo.read(zoo.rows[:1])}
    with pytest.raises(BadInput, match=f"(?s){said}"):
        synthesizer.sample(1, **wanted)


def test_the_whole_run_again_changes_nothing(run: RunFolder) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and "plots" not in path.parts}
    run_pipeline(recipe(), run.path)
    assert {path: path.read_bytes() for path in before} == before


def test_one_network_is_replayed_and_the_report_says_so(tmp_path: Path) -> None:
    text = TEXT
    for before, after in (
        ("runs: 20", "runs: 1"),
        ("{name: unit, options: {width: 40, canonical: true}}", "flat"),
        ("conditions: [accuracy], given: true, ", ""),
        ("wanted: 4, given: 2", "wanted: 0, given: 0"),
        ("updates: 5", "updates: 200"),
        ("average: 0.9", "average: 0.98, learning_rate: 3e-3"),
    ):
        text = text.replace(before, after)
    wanted = parse_recipe(text, "single")
    run = run_pipeline(wanted, tmp_path / "run")
    summary = summarise(read_records(run.records))
    original, found = summary.of("mlp", "training"), summary.generated("mlp", "some")
    assert original is not None
    assert found["accuracy_min"] > original["accuracy_mean"] - 0.05
    assert "this is replay" in " ".join(verdict(summary, "some"))
    assert not (run.plots / "audit.png").exists(), "there is no distance to draw"
    assert not [row for row in summary.sets if row["set"] in ("baseline", "held out")]


def test_architectures_side_by_side_have_a_generator_each(tmp_path: Path) -> None:
    text = TEXT + "vary:\n  options: {hidden: [[6], [4, 5]]}\n"
    small = ["evaluation.given=0", "evaluation.wanted=0", "evaluation.samples=2", "evaluation.samplers={}"]
    small += ["zoo.epochs=2", "training.budgets={some: 1}"]
    run = run_pipeline(parse_recipe(text, "two", small), tmp_path / "run")
    summary = summarise(read_records(run.records))
    assert sorted(summary.members) == ["mlp 0", "mlp 1"]
    sizes = {Synthesizer.load(run.synthesizer(i, "some")).layout.parameters for i in range(2)}
    assert sizes == {64 * 6 + 6 + 60 + 10, 64 * 4 + 4 + 20 + 5 + 50 + 10}


def test_a_zoo_that_exists_is_learned_from(run: RunFolder, tmp_path: Path) -> None:
    other = run_pipeline(recipe(f"zoo.folder={run.zoo}"), tmp_path / "run", until="train")
    assert not (other.path / "zoo").exists()
    first, second = (
        json.loads((one.synthesizer(0, "some") / "config.json").read_text())["content"]["model_sha256"]
        for one in (run, other)
    )
    assert first == second


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["zoo.runs=3"], "3 runs of mlp cannot be dealt"),
        (["population.train=19"], "20 runs of mlp cannot be dealt into 19"),
        (["vary.dataset=[digits]"], "varies dataset"),
    ],
)
def test_too_few_runs_and_mixed_data_are_refused(tmp_path: Path, changes: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        run_pipeline(recipe(*changes), tmp_path / "run", until="train")


def test_generated_networks_are_whole(run: RunFolder) -> None:
    synthesizer = Synthesizer.load(run.synthesizer(0, "some"))
    weights = synthesizer.sample(2, accuracy=torch.tensor([0.3, 0.4]))
    assert isinstance(weights, Weights)
    for state in weights.states():
        synthesizer.architecture.build(0).load_state_dict(state)
