"""`weightsmith sample`: what can be asked for on the command line, and the mistakes that people make with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from weightsmith.architectures import Architecture
from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.pipeline import run_pipeline
from weightsmith.settings.loading import parse_recipe

FORM = Architecture("mlp", (1, 8, 8), 10, {"hidden": [8]})
TEXT = """\
name: sampled
description: A generator of seconds, which was told accuracies and learned to fill in layers.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 10, epochs: 6, precision: fp32, method: stacked, group_size: 10, workers: 1, threads: 1}
codec: {name: unit, options: {width: 40, canonical: true}}
generator: {name: diffusion, options: {width: 16, blocks: 1, conditions: [accuracy], given: true, steps: 4}}
training: {budgets: {some: 2}, headline: some, batch_size: 8, updates: 5}
"""


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = run_pipeline(parse_recipe(TEXT, "sampled"), tmp_path_factory.mktemp("sampled") / "run", until="train")
    return run.synthesizer(0, "some")


def test_samples_are_written_and_follow_from_what_is_asked(program: Run, synthesizer: Path, tmp_path: Path) -> None:
    ways = {
        "plain": (),
        "again": (),
        "asked": ("--accuracy", "0.3", "--guidance", "2"),
        "sampler": ("--sampler", "euler", "--steps", "3"),
        "seed": ("--seed", "9"),
    }
    written = {}
    for name, options in ways.items():
        done = program("sample", synthesizer, "-n", "2", "--out", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [str(tmp_path / name / f"sample-0000{i}.safetensors") for i in range(2)]
        written[name] = (tmp_path / name / "sample-00000.safetensors").read_bytes()
    assert written["plain"] == written["again"]
    assert len(set(written.values())) == 4
    state = read_checkpoint(tmp_path / "plain" / "sample-00001.safetensors")
    FORM.build(0).load_state_dict(state)


def test_given_layers_come_from_a_checkpoint(program: Run, synthesizer: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "trained.pt", FORM.build(3).state_dict())
    options = ("--network", tmp_path / "trained.pt", "--given", "fc1")
    done = program("sample", synthesizer, "-n", "2", "--out", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    first, second = (read_checkpoint(tmp_path / "out" / f"sample-0000{i}.safetensors") for i in range(2))
    assert (first["fc1.weight"] == second["fc1.weight"]).all()
    assert not (first["fc2.weight"] == second["fc2.weight"]).all()


def test_evaluate_measures_and_writes_only_where_told(program: Run, synthesizer: Path, tmp_path: Path) -> None:
    done = program("sample", synthesizer, "-n", "3", "--evaluate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 3
    assert not list(tmp_path.iterdir())
    done = program("sample", synthesizer, "-n", "3", "--evaluate", "--json", "--out", tmp_path / "out")
    document = json.loads(done.stdout)
    assert document["kind"] == "evaluation"
    assert [row["network"] for row in document["rows"]] == ["sample 0", "sample 1", "sample 2"]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_without_out_they_go_to_samples(program: Run, synthesizer: Path, tmp_path: Path) -> None:
    assert program("sample", synthesizer).returncode == 0
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["sample-00000.safetensors"]
    done = program("sample", synthesizer)
    assert done.returncode == 2
    assert "samples is not empty" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--accuracy", "0.999999"), "accuracy"),
        (("--loss", "0.3"), "loss"),
        (("--for-dataset", "mnist"), "dataset"),
        (("--sampler", "eulr"), "euler"),
        (("--given", "fc1"), "--network"),
        (("--format", "onnx"), "safetensors"),
    ],
)
def test_mistakes_are_named(
    program: Run, synthesizer: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = program("sample", synthesizer, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "remedy" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_nothing_is_refused(program: Run) -> None:
    done = program("sample", "no-such-thing", "-n", "2")
    assert done.returncode == 2
    assert "no-such-thing is no folder" in done.stderr
    assert "mnist-mlp" in done.stderr
