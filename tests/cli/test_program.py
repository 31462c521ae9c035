"""The program: help, versions, exit statuses, messages, documents, and that torch is imported only where it is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from conftest import Run
from safetensors.torch import load_file

from weightsmith.architectures import Architecture
from weightsmith.checkpoint import write_checkpoint
from weightsmith.cli import graphs, networks, runs, zoos  # noqa: F401  they add their commands
from weightsmith.cli.app import app
from weightsmith.settings.loading import load_recipe, shipped_names

FORM = Architecture("mlp", (1, 8, 8), 10, {"hidden": [8]})
REPORT_TORCH = """
import sys
from weightsmith.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def light(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The program in a new process, of which it is proved that it did not import torch."""
    command = [sys.executable, "-c", REPORT_TORCH, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "False", done.stderr
    return done


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL_COMMANDS = list(commands(typer.main.get_command(app)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_commands_of_the_design_are_there() -> None:
    wanted = {("recipes",), ("run",), ("train",), ("report",), ("sample",), ("evaluate",)}
    on_zoos = {("zoo", name) for name in ("build", "import", "list", "show", "verify", "export")}
    assert wanted | on_zoos <= set(ALL_COMMANDS)


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_help_is_useful_and_light(command: tuple[str, ...]) -> None:
    done = light(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    description = done.stdout.splitlines()[2].strip()
    assert len(description.split()) >= 3, "a sentence says what it does"
    for line in done.stdout.partition("Options:")[2].splitlines():
        assert not line.strip().startswith("-") or len(line.split()) > 2, f"option without help: {line}"


def test_version() -> None:
    done = light("--version")
    assert (done.returncode, done.stdout) == (0, "weightsmith 0.1.0.dev0\n")


def test_recipes_are_listed() -> None:
    done = light("recipes")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == shipped_names()


@pytest.mark.parametrize("name", [name for name in shipped_names() if not load_recipe(name).vary.named])
def test_dry_run_says_what_would_happen(name: str, tmp_path: Path) -> None:
    done = light("run", name, "--dry-run", "--out", tmp_path / "run")
    assert done.returncode == 0
    parameters = "26,506" if name.startswith("mnist-weight-") else "421,642"
    said = "# architectures: 1,200" if name == "mnist-universal" else f"# parameters of one network: {parameters}"
    assert said in done.stdout
    assert f"name: {name}" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_zoo_of_many_forms_is_built_and_not_learnt_from(tmp_path: Path) -> None:
    done = light("zoo", "build", "mnist-zoo", "--runs", "7", "--dry-run", "--out", tmp_path / "run")
    assert done.returncode == 0
    assert "# networks: 7 runs of 6 checkpoints each" in done.stdout
    assert "# varied from run to run: architecture, options, optimizer, learning_rate, weight_decay" in done.stdout
    done = light("run", "mnist-zoo", "--dry-run", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "varies architecture, options" in done.stderr
    assert "weightsmith zoo build" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--engine", "rey"], "use local or ray"), (["--address", "auto"], "ray")],
)
def test_engines_are_known(tmp_path: Path, options: list[str], said: str) -> None:
    done = light("zoo", "build", "mnist-zoo", *options, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Usage:"),
        (["runn"], "No such command 'runn'"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "mnist-trajectory", "--outt", "x"], "No such option: --outt"),
        (["run", "mnist-trajectry"], "did you mean 'mnist-trajectory'?"),
        (["run", "missing.yaml"], "cannot read recipe 'missing.yaml'"),
        (["run", "mnist-trajectory", "zoo.epoch=2"], "the nearest is 'epochs'"),
        (["zoo", "build", "mnist-trajectory", "dataset=mnsit"], "the nearest is 'mnist'"),
        (
            ["train", "mnist-trajectory", "zoo.epochs=many"],
            "zoo.epochs (command line): found many, expected an integer",
        ),
        (["run", "mnist-trajectory", "epochs"], "'epochs' is not section.key=value"),
    ],
)
def test_bad_usage(arguments: list[str], expected: str) -> None:
    done = light(*arguments)
    assert done.returncode == 2
    assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_all_mistakes_of_a_recipe_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\ndescription: Four mistakes.\nzoo:\n  runs: few\n  epochz: 3\ncodec: spam\n")
    done = light("run", path, "device=gpu", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "holds 4 mistakes" in done.stderr
    for part in (
        "zoo.runs (line 4): found few, expected an integer",
        "zoo.epochz (line 5): unknown key; the nearest is 'epochs'",
        "the nearest is 'span'",
        "device (command line): found gpu, expected auto, cpu",
    ):
        assert part in done.stderr
    assert not (tmp_path / "run").exists()


def test_without_mnist_all_three_remedies_are_named(program: Run, tmp_path: Path) -> None:
    for name in ("data", "cache"):
        (tmp_path / name).mkdir()
    environment = {
        "WEIGHTSMITH_OFFLINE": "1",
        "WEIGHTSMITH_DATA_DIR": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = program("run", "mnist-trajectory", "--out", tmp_path / "run", **environment)
    assert done.returncode == 1
    for remedy in ("WEIGHTSMITH_DATA_DIR", "connect to the network", "dataset=digits"):
        assert remedy in done.stderr
    assert not (tmp_path / "run").exists(), "no data, no run"


def test_or_digits_falls_back_and_says_so(program: Run, tiny_recipe_file: Path, tmp_path: Path) -> None:
    for name in ("data", "cache"):
        (tmp_path / name).mkdir()
    environment = {
        "WEIGHTSMITH_OFFLINE": "1",
        "WEIGHTSMITH_DATA_DIR": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    smaller = ["dataset.name=mnist", "zoo.runs=1", "training.budgets={untrained: 0}", "training.headline=untrained"]
    arguments = ["run", tiny_recipe_file, *smaller, "--or-digits", "--out", tmp_path / "run"]
    done = program(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert sum("embedded digits (dataset=digits)" in line for line in done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert "name: digits" in (tmp_path / "run-digits" / "recipe.yaml").read_text()


def test_or_digits_changes_nothing_where_the_data_are(program: Run, tiny_recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_bytes(b"x")
    done = program("run", tiny_recipe_file, "--or-digits", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "embedded digits" not in done.stderr
    assert f"{tmp_path / 'run'} is not a weightsmith run and not empty" in done.stderr


def test_out_with_other_things_is_left_alone(program: Run, tiny_recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("mine")
    done = program("run", tiny_recipe_file, "--out", folder)
    assert done.returncode == 2
    assert "choose another folder with --out" in done.stderr
    assert files(folder) == {"recipe.yaml": b"mine"}


def test_out_that_is_a_file_is_refused(program: Run, tiny_recipe_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    done = program("run", tiny_recipe_file, "--out", file)
    assert done.returncode == 1
    assert f"output path {file} is a file" in done.stderr
    assert file.read_bytes() == b"x"


def test_resume_with_a_changed_recipe_names_the_fields(program: Run, tiny_recipe_file: Path, tiny_run: Path) -> None:
    before = files(tiny_run)
    done = program("run", tiny_recipe_file, "zoo.epochs=3", "seed=9", "--out", tiny_run)
    assert done.returncode == 2
    assert "zoo.epochs: 2 -> 3" in done.stderr
    assert "seed: 0 -> 9" in done.stderr
    assert files(tiny_run) == before


def test_json_is_one_document_with_all_rows(
    program: Run, tiny_recipe_file: Path, tiny_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    done = program("run", tiny_recipe_file, "--out", run, "--json")
    assert done.returncode == 0, done.stderr
    assert "writing the report ..." in done.stderr, "progress is on stderr"
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "kind", "headline", "rows", "environment"]
    assert (document["schema"], document["kind"]) == ("weightsmith.result/1", "run")
    assert document["headline"]["budget"] == "converged"
    assert {"weightsmith", "torch", "processor", "cores"} <= document["environment"].keys()
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        by_kind.setdefault(row["row"], []).append(row)
    needed = {"step", "accuracy_mean", "accuracy_std", "loss_mean", "nearest_checkpoint_distance"}
    needed |= {"init_dependence", "function_dependence"}
    assert [(row["budget"], row["step"]) for row in by_kind["generated"]] == [
        (None, 0),
        ("untrained", 1),
        ("untrained", 2),
        ("converged", 1),
        ("converged", 2),
    ]
    for row in by_kind["generated"]:
        assert needed <= row.keys()
        assert all(row[name] is not None for name in needed)
        assert 0 <= row["accuracy_mean"] <= 1, "accuracies are fractions"
        assert row["networks"] == 15
    assert {row["name"] for row in by_kind["baseline"]} >= {"copy of the best checkpoint", "mean of the checkpoints"}
    assert all({"accuracy_mean", "loss_mean"} <= row.keys() for row in by_kind["baseline"])
    assert [row["step"] for row in by_kind["original"]] == [0, 1, 2]


def test_the_report_is_written_again_from_the_records(program: Run, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "report.html").unlink()
    done = program("report", run)
    assert done.returncode == 0
    assert "Accuracy along the generative steps" in done.stdout
    assert "mean of the checkpoints" in done.stdout
    assert done.stdout.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert (run / "report.html").read_bytes() == (tiny_run / "report.html").read_bytes()


@pytest.mark.parametrize("format", ["safetensors", "pt"])
def test_sample_writes_files_that_pytorch_loads(program: Run, tiny_run: Path, tmp_path: Path, format: str) -> None:
    source = tiny_run / "synthesizer" / "pipeline-0" / "converged"
    out = tmp_path / "out"
    done = program("sample", source, "-n", 2, "--seed", 3, "--steps", 2, "--format", format, "--out", out)
    assert done.returncode == 0, done.stderr
    paths = [out / f"sample-0000{i}.{format}" for i in range(2)]
    assert done.stdout.split() == [str(path) for path in paths]
    for path in paths:
        state = load_file(path) if format == "safetensors" else torch.load(path, weights_only=True)
        FORM.build(0).load_state_dict(state, strict=True)
    again = tmp_path / "again"
    program("sample", source, "-n", 2, "--seed", 3, "--steps", 2, "--format", format, "--out", again)
    assert files(again) == files(out), "the same seed, the same bytes"
    refused = program("sample", source, "--out", out)
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot read"),
        (lambda folder: (folder / "config.json").write_text("{}"), "was changed or damaged"),
        (lambda folder: os.truncate(folder / "model.safetensors", 100), "is not a safetensors file"),
    ],
)
def test_damaged_synthesizer(program: Run, tiny_run: Path, tmp_path: Path, damage: Any, expected: str) -> None:
    folder = tmp_path / "synthesizer"
    shutil.copytree(tiny_run / "synthesizer" / "pipeline-0" / "converged", folder)
    damage(folder)
    done = program("sample", folder, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()


def test_sample_refuses_an_unknown_format(program: Run, tiny_run: Path, tmp_path: Path) -> None:
    source = tiny_run / "synthesizer" / "pipeline-0" / "converged"
    done = program("sample", source, "--format", "h5", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "use one of safetensors, pt, pth" in done.stderr


@pytest.fixture
def small_digits(tmp_path: Path) -> Path:
    """Images of the form of the tiny run's networks."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    path = tmp_path / "small.npz"
    np.savez(path, x_train=rng.integers(0, 256, (200, 8, 8), dtype=np.uint8), y_train=labels)
    return path


def test_evaluate_a_synthesizer(program: Run, tiny_run: Path, small_digits: Path) -> None:
    source = tiny_run / "synthesizer" / "pipeline-0" / "converged"
    done = program("evaluate", source, "--dataset", small_digits, "-n", 3, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "kind", "headline", "rows", "environment"]
    assert [row["network"] for row in document["rows"]] == ["sample 0", "sample 1", "sample 2"]
    assert all(0 <= row["accuracy"] <= 1 and row["loss"] > 0 for row in document["rows"])
    assert document["headline"]["split"] == "test"


def test_evaluate_on_data_of_another_form(program: Run, tiny_run: Path) -> None:
    done = program("evaluate", tiny_run / "synthesizer" / "pipeline-0" / "converged", "--dataset", "digits")
    assert done.returncode == 2
    assert "the networks read images [1, 8, 8] of 10 classes, and digits has images [1, 28, 28]" in done.stderr


def test_evaluate_checkpoints(program: Run, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    form = Architecture("mlp", (1, 28, 28), 10)
    write_checkpoint(folder / "a.pt", form.build(0).state_dict())
    write_checkpoint(folder / "b.safetensors", {n: v.double() for n, v in form.build(1).state_dict().items()})
    bad = form.build(2).state_dict()
    bad["fc1.weight"][0, 0] = float("nan")
    write_checkpoint(folder / "c.pth", bad)
    (folder / "notes.txt").write_text("not a checkpoint")
    done = program("evaluate", folder, "--architecture", "mlp", "--dataset", "digits", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["network"] for row in rows] == ["a.pt", "b.safetensors", "c.pth"]
    assert [row["accuracy"] is None for row in rows] == [False, False, True]
    assert "b.safetensors: cast fc1.weight: float64 -> float32" in done.stderr
    assert "c.pth: its outputs are not finite" in done.stderr


def test_evaluate_a_checkpoint_of_another_layout(program: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    write_checkpoint(path, Architecture("mlp", (1, 28, 28), 10, {"hidden": [5]}).build(0).state_dict())
    done = program("evaluate", path, "--architecture", "mlp", "--dataset", "digits")
    assert done.returncode == 2
    assert f"{path}: tensor 'fc1.weight' is float32[5, 784], not float32[32, 784]" in done.stderr


def test_evaluate_nothing(program: Run, tmp_path: Path) -> None:
    missing = program("evaluate", tmp_path / "missing")
    assert (missing.returncode, "does not exist" in missing.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    empty = program("evaluate", tmp_path / "empty")
    assert empty.returncode == 2
    assert "holds no run, synthesizer or checkpoint" in empty.stderr


def test_zoo_list(program: Run, tiny_run: Path) -> None:
    done = program("zoo", "list", tiny_run / "zoo")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "9 networks"
    chosen = program("zoo", "list", tiny_run / "zoo", "--where", "step = 2", "--json")
    document = json.loads(chosen.stdout)
    assert [(row["run"], row["step"]) for row in document["rows"]] == [(0, 2), (1, 2), (2, 2)]
    assert document["headline"] == {"networks": 3}
    wrong = program("zoo", "list", tiny_run / "zoo", "--where", "acuracy > 0.5")
    assert wrong.returncode == 2
    assert "accuracy" in wrong.stderr


def test_zoo_verify(program: Run, tiny_run: Path, tmp_path: Path) -> None:
    for name, networks_in in (("zoo", 9), ("samples", 30)):
        done = program("zoo", "verify", tiny_run / name)
        assert done.returncode == 0
        assert f"whole: {networks_in} networks" in done.stdout
    copy = tmp_path / "zoo"
    shutil.copytree(tiny_run / "zoo", copy)
    segment = next((copy / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    done = program("zoo", "verify", copy)
    assert done.returncode == 2
    assert segment.name in done.stderr


def test_zoo_export(program: Run, tiny_run: Path, tmp_path: Path) -> None:
    done = program("zoo", "export", tiny_run / "zoo", "--out", tmp_path / "out", "--where", "run = 1", "--format", "pt")
    assert done.returncode == 0
    paths = sorted((tmp_path / "out").glob("*.pt"))
    assert [path.name for path in paths] == [f"run-00001-step-0000{step}.pt" for step in range(3)]
    FORM.build(0).load_state_dict(torch.load(paths[2], weights_only=True), strict=True)
    assert len((tmp_path / "out" / "index.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("arguments", [["report"], ["zoo", "list"], ["zoo", "verify"], ["sample", "--out", "x"]])
def test_folders_that_are_something_else(program: Run, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "other").mkdir()
    done = program(*arguments, tmp_path / "other")
    assert done.returncode == 2
    assert "remedy:" in done.stderr
    assert not list((tmp_path / "other").iterdir())


def test_a_synthesizer_is_evaluated_on_the_data_it_was_made_with(program: Run, tiny_run: Path) -> None:
    """The tiny run's digits are of 8 x 8 pixels, which no default could guess."""
    done = program("evaluate", tiny_run / "synthesizer" / "pipeline-0" / "converged", "-n", 2)
    assert done.returncode == 0, done.stderr
    assert "359 test images of digits" in done.stdout


def test_a_module_of_ones_own_is_run_only_when_it_is_named(
    program: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownnets.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    short = ["zoo.runs=1", "zoo.epochs=1", "training.budgets={none: 0}", "training.headline=none"]
    data = ["dataset={name: digits, image_size: 8}", "architecture=ownnets:net"]
    made = program("train", "mnist-trajectory", *data, *short, "--out", tmp_path / "run")
    assert made.returncode == 0, made.stderr
    synthesizer = tmp_path / "run" / "synthesizer" / "pipeline-0" / "none"
    refused = program("sample", synthesizer, "--out", tmp_path / "a")
    assert refused.returncode == 2
    assert "--architecture ownnets:net" in refused.stderr
    named = program("sample", synthesizer, "--out", tmp_path / "b", "--architecture", "ownnets:net")
    assert named.returncode == 0, named.stderr
