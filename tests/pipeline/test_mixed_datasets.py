"""One generator for the networks of two data sets: each set is dealt, asked for and measured on its own images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from sklearn.datasets import load_digits

from weightsmith.errors import BadInput
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.pipeline.population.members import members_of
from weightsmith.record import read_records
from weightsmith.report.population import summarise
from weightsmith.report.population.verdict import verdict
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.settings.vary import settings_of_run
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Zoo

TEXT = """\
name: mixed
description: A population of seconds over two data sets.
device: cpu
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 19, epochs: 8, learning_rate: 0.01, precision: fp32, method: stacked, group_size: 9, workers: 1, threads: 1}
vary: {dataset: [{name: digits, image_size: 8}, {name: OTHER, image_size: 8}]}
population: {held_out: 0.2}
codec: {name: unit, options: {width: 40, canonical: true}}
generator:
  name: diffusion
  options: {width: 16, blocks: 1, conditions: [accuracy], datasets: [digits, OTHER], given: true, steps: 4}
training: {budgets: {some: 3}, headline: some, batch_size: 8, updates: 5, validate_every: 1, average: 0.9}
evaluation: {samples: 4, precision: fp32, samplers: {euler: 2}, wanted: 3, given: 2}
"""


@pytest.fixture(scope="module", autouse=True)
def _no_rates() -> Iterator[None]:
    """How fast a generator samples is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weightsmith.pipeline.population.measure.RATE_SECONDS", 0.0)
        yield


def write_relabelled(path: Path, shift: int = 1, classes: int = 10) -> str:
    digits = load_digits()
    images, labels = digits.images[:900], (digits.target[:900] + shift) % 10 % classes
    np.savez(path, x_train=images, y_train=labels, x_test=images[:90], y_test=labels[:90])
    return str(path)


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digits, each called by the name of the next: who classifies these gets none of the plain ones right."""
    return write_relabelled(tmp_path_factory.mktemp("data") / "relabelled.npz")


def recipe(other: str, *overrides: str, changes: Mapping[str, str] | None = None) -> Recipe:
    text = TEXT.replace("OTHER", other)
    for before, after in (changes or {}).items():
        assert before in text
        text = text.replace(before, after)
    return parse_recipe(text, "mixed", overrides)


@pytest.fixture(scope="module")
def run(relabelled: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_pipeline(recipe(relabelled), tmp_path_factory.mktemp("mixed") / "run")


def test_every_data_set_is_in_every_part(run: RunFolder, relabelled: str) -> None:
    zoo = Zoo.open(run.zoo)
    (member,) = members_of(run, zoo)
    learned = {row.run: str(row.extra["dataset"]) for row in zoo.rows}
    runs = Counter(learned.values())
    assert runs["digits"] != runs[relabelled], "unequal shares, or the test says little"
    dealt = {part: Counter(learned[row.run] for row in rows) for part, rows in member.finals.items()}
    for name, count in runs.items():
        validation, held_out = round(0.1 * count), round(0.2 * count)
        expected = {"train": count - validation - held_out, "validation": validation, "held_out": held_out}
        assert {part: dealt[part][name] for part in dealt} == expected
    assert len({row.run for rows in member.finals.values() for row in rows}) == 19
    shares = member.shares(["digits", relabelled])
    assert [share.name for share in shares] == ["mlp on digits", f"mlp on {relabelled}"]
    for part, rows in member.parts.items():
        assert sum(len(share.parts[part]) for share in shares) == len(rows)


def test_each_is_measured_on_its_own_images(run: RunFolder, relabelled: str) -> None:
    records = read_records(run.records)
    summary = summarise(records)
    assert summary.members == ["mlp on digits", f"mlp on {relabelled}"]
    for record in records:
        subject = str(record.subject["member"])
        if record.kind != "training":
            expected = {"mlp on digits": ("digits", 359), f"mlp on {relabelled}": (relabelled, 90)}[subject]
            assert (record.measured_on["dataset"], record.measured_on["images"]) == expected
    for member in summary.members:
        sets = {(row["set"], row["name"]): row for row in summary.sets if row["member"] == member}
        assert {name for kind, name in sets if kind == "generated"} == {"some", "some, euler 2"}
        assert len([name for kind, name in sets if kind == "baseline"]) == 9
        for key in (("training", ""), ("held out", ""), ("reconstructed", ""), ("baseline", "best training network")):
            assert sets[key]["accuracy_mean"] > 0.6, "on the other data set's images it would be near 0"
        assert sets["held out", ""]["nearest_ratio"] == 1.0
        assert sets["baseline", "best training network"]["nearest_ratio"] == pytest.approx(0, abs=1e-3)
        assert len([row for row in summary.wanted if row["member"] == member]) == 3
        given = {row["layer"]: row for row in summary.given if row["member"] == member}
        assert given.keys() == {"fc1", "fc2"}
        assert all(row["own_accuracy"] > 0.6 for row in given.values())
    assert [(row["member"], row["budget"]) for row in summary.training] == [("mlp", "some")], "one generator"


def test_the_report_and_the_samples_say_which_data_set(run: RunFolder, relabelled: str) -> None:
    page = run.report.read_text()
    assert "the 359 test images of <b>digits</b>, the 90 test images of <b>" in page
    assert f"How good and how new: mlp on {relabelled}" in page
    assert (run.plots / "weights-mlp on digits.png").exists()
    said = " ".join(verdict(summarise(read_records(run.records)), "some"))
    assert "samples for mlp on digits score" in said
    samples = Zoo.open(run.samples)
    assert Counter(samples.provenance(row)["dataset"]["name"] for row in samples.rows) == {"digits": 4, relabelled: 4}


def test_run_again_it_changes_nothing(run: RunFolder, relabelled: str) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and "plots" not in path.parts}
    run_pipeline(recipe(relabelled), run.path, until="evaluate")
    assert {path: path.read_bytes() for path in before} == before


def test_provenance_lists_all_data_sets(run: RunFolder, relabelled: str) -> None:
    origin = Synthesizer.load(run.synthesizer(0, "some")).provenance
    assert [one["data set"]["name"] for one in origin["data sets"]] == ["digits", relabelled]
    marks = [one["data set fingerprint"] for one in origin["data sets"]]
    assert marks == [data.fingerprint for data in run.datasets.values()]
    assert "data set" not in origin


def test_a_mixed_zoo_that_exists_is_learned_from(run: RunFolder, relabelled: str, tmp_path: Path) -> None:
    """Also where a data set has moved: its fingerprint says that it is the same."""
    moved = write_relabelled(tmp_path / "moved.npz")
    others = [
        run_pipeline(recipe(name, f"zoo.folder={run.zoo}"), tmp_path / str(i), until="train")
        for i, name in enumerate((relabelled, moved))
    ]
    made = {
        json.loads((one.synthesizer(0, "some") / "config.json").read_text())["content"]["model_sha256"]
        for one in (run, *others)
    }
    assert len(made) == 1


def test_a_replay_of_one_network_of_each_is_of_the_one_that_is_asked_for(relabelled: str, tmp_path: Path) -> None:
    """A known answer: each score is that of the network of the data set asked for, on its images."""
    changes = {
        "{name: unit, options: {width: 40, canonical: true}}": "flat",
        "conditions: [accuracy], ": "",
        "given: true, ": "",
        "samplers: {euler: 2}, wanted: 3, given: 2": "samplers: {}",
        "updates: 5": "updates: 100",
        "average: 0.9": "average: 0.98, learning_rate: 3e-3",
    }
    one_each = next(
        seed
        for seed in range(100)
        if len({settings_of_run(recipe(relabelled, f"seed={seed}"), i).dataset.name for i in range(2)}) == 2
    )
    found = run_pipeline(recipe(relabelled, "zoo.runs=2", f"seed={one_each}", changes=changes), tmp_path / "run")
    summary = summarise(read_records(found.records))
    for member in summary.members:
        original, sampled = summary.of(member, "training"), summary.generated(member, "some")
        assert original is not None
        assert original["networks"] == 1
        assert original["accuracy_mean"] > 0.6
        assert sampled["accuracy_min"] > original["accuracy_mean"] - 0.05
    assert not [row for row in summary.sets if row["set"] in ("baseline", "held out")]
    assert " ".join(verdict(summary, "some")).count("this is replay") == 2


@pytest.mark.parametrize(
    ("changes", "overrides", "said", "remedy"),
    [
        ({"datasets: [digits, OTHER], ": ""}, [], "varies dataset", r"generator\.options\.datasets=\[digits, "),
        ({"datasets: [digits, OTHER]": "datasets: [digits]"}, [], "learns data set '.*npz'", "datasets=.digits, "),
        ({"datasets: [digits, ": "datasets: [digits, mnist, "}, [], "no run .* learns data set 'mnist'", "vary"),
        ({}, ["zoo.runs=1"], "no run of recipe 'mixed' learns data set", r"zoo\.runs"),
        ({"{name: digits, image_size: 8}": "digits"}, [], r"\[1, 8, 8\] .* 'digits' .* \[1, 28, 28\]", "image_size"),
        ({"{name: digits, image_size: 8}": "{name: digits, image_size: 8}, digits"}, [], "'digits' twice", "once"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_before_anything_is_made(
    relabelled: str, tmp_path: Path, changes: dict[str, str], overrides: list[str], said: str, remedy: str
) -> None:
    named = {before.replace("OTHER", relabelled): after for before, after in changes.items()}
    with pytest.raises(BadInput, match=f"(?s){said}.*remedy: .*{remedy}"):
        run_pipeline(recipe(relabelled, *overrides, changes=named), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    few = write_relabelled(tmp_path / "few.npz", classes=3)
    with pytest.raises(BadInput, match=r"few\.npz' has images \[1, 8, 8\] of 3 classes, and 'digits' .* of 10"):
        run_pipeline(recipe(few), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"datasets: [digits, OTHER], ": "", "vary:": "dataset: {name: digits, image_size: 8}\n#"},
            "several data sets",
        ),
        ({"OTHER": "DIFFERENT"}, "holds networks of data set '.*relabelled.npz'"),
        ({"image_size: 8": "image_size: 6"}, r"reads images \[1, 8, 8\] of 10 classes, and data set 'digits' .* 6, 6"),
        (
            {"[digits, OTHER]": "[digits, OTHER, COPY]", "8}]": "8}, {name: COPY, image_size: 8}]"},
            "no run of mlp on .*copy",
        ),
    ],
)
def test_a_zoo_that_exists_must_hold_what_the_generator_is_told(
    run: RunFolder, relabelled: str, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    copy, different = write_relabelled(tmp_path / "copy.npz"), write_relabelled(tmp_path / "different.npz", shift=2)
    text = TEXT
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    text = text.replace("OTHER", relabelled).replace("COPY", copy).replace("DIFFERENT", different)
    with pytest.raises(BadInput, match=said):
        run_pipeline(parse_recipe(text, "mixed", [f"zoo.folder={run.zoo}"]), tmp_path / "run", until="train")
    assert not (tmp_path / "run" / "synthesizer").exists()


def test_too_few_runs_of_one_data_set_are_named(run: RunFolder, relabelled: str, tmp_path: Path) -> None:
    wanted = recipe(relabelled, f"zoo.folder={run.zoo}", "population.train=12")
    with pytest.raises(BadInput, match=r"runs of mlp on \S+ cannot be dealt into 12 to learn from"):
        run_pipeline(wanted, tmp_path / "run", until="train")


def test_samples_are_measured_on_the_data_set_that_is_asked_for(
    program: Run, run: RunFolder, relabelled: str, tmp_path: Path
) -> None:
    synthesizer, seen = run.synthesizer(0, "some"), {}
    for command in (("sample", "--evaluate"), ("evaluate",)):
        for name, images in (("digits", 359), (relabelled, 90)):
            done = program(command[0], synthesizer, "-n", "2", "--for-dataset", name, "--json", *command[1:])
            assert done.returncode == 0, done.stderr
            document = json.loads(done.stdout)
            assert document["headline"]["images"] == images
            seen[command[0], name] = [row["accuracy"] for row in document["rows"]]
    assert seen["sample", "digits"] == seen["evaluate", "digits"]
    assert seen["sample", relabelled] == seen["evaluate", relabelled]
    for options, said in (((), "none is asked for"), (("--for-dataset", "mnist"), "'mnist' is none of them")):
        done = program("evaluate", synthesizer, *options)
        assert done.returncode == 2
        assert said in done.stderr
        assert relabelled.rsplit("/", 1)[1] in done.stderr.replace("\n", "")
    done = program("evaluate", run.path, "--for-dataset", "digits")
    assert done.returncode == 2
    assert "asks a synthesizer" in done.stderr
