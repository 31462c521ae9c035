"""`weightsmith synthesize`: weights for a user's own module, and the mistakes that people make with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Run
from safetensors.torch import load_file
from small_universal import Normalised, Perceptron, small_covers, small_universal

import weightsmith as ws
from weightsmith.architectures import Architecture
from weightsmith.cli import outputs
from weightsmith.cli.outputs import network_files, write_networks
from weightsmith.cli.synthesis import _test_images
from weightsmith.errors import EnvironmentFault

NETS = """\
import torch
from small_universal import Cumulative, Flat, Normalised, Perceptron, Undecided

def raising(width=1):
    raise RuntimeError(f"no network of width {width}")

def number():
    return 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("universal") / "s"
    small_universal().save(path)
    return path


@pytest.fixture(autouse=True)
def nets(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)


def made(tmp_path: Path) -> set[str]:
    return (
        {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        - {"nets.py"}
        - {str(path.relative_to(tmp_path)) for path in (tmp_path / "__pycache__", *tmp_path.rglob("__pycache__/*"))}
    )


def test_one_network_is_a_file_of_the_module_s_own_names(program: Run, folder: Path, tmp_path: Path) -> None:
    done = program(
        "synthesize", "nets:Perceptron", "--synthesizer", folder, "--seed", 3, "--options", "hidden=12", "--no-check"
    )
    assert done.returncode == 0, done.stderr
    state = load_file(tmp_path / "weights.safetensors")
    expected = ws.synthesize(Perceptron(12), n=1, seed=3, synthesizer=folder)[0]
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert done.stdout.splitlines() == [
        "Perceptron: 4 operations, 910 parameters in 4 tensors, 12 hidden units",
        "generated: 910 parameters in 4 tensors",
        "network 0: weights.safetensors",
    ]
    done = program(
        "synthesize", "nets:Perceptron", "--synthesizer", folder, "--options", "hidden=12", "-o", "w.safetensors"
    )
    assert "warning: badly written: no network gets more than" in done.stdout
    assert "network 0: w.safetensors; " in done.stdout
    assert done.stdout.rstrip().endswith("% of training images right")


def test_several_are_numbered_files_or_a_folder(program: Run, folder: Path, tmp_path: Path) -> None:
    for out in ("few.safetensors", "few"):
        done = program("synthesize", "nets:Perceptron", "--synthesizer", folder, "-n", 2, "--out", out)
        assert done.returncode == 0, done.stderr
    numbered = [load_file(tmp_path / f"few-0000{i}.safetensors") for i in range(2)]
    listed = [load_file(tmp_path / "few" / f"sample-0000{i}.safetensors") for i in range(2)]
    assert all(torch.equal(one[k], other[k]) for one, other in zip(numbered, listed, strict=True) for k in one)
    assert not torch.equal(numbered[0]["last.weight"], numbered[1]["last.weight"])
    assert made(tmp_path) == {
        "few",
        *(f"few-0000{i}.safetensors" for i in range(2)),
        *(f"few/sample-0000{i}.safetensors" for i in range(2)),
    }


def test_a_registered_name_works_in_place_of_a_module(program: Run, folder: Path, tmp_path: Path) -> None:
    done = program("synthesize", "mlp", "hidden=[9]", "activation=relu", "--synthesizer", folder, "-o", "w.safetensors")
    assert done.returncode == 0, done.stderr
    form = Architecture("mlp", (1, 8, 8), 10, {"hidden": [9]})
    form.build(0).load_state_dict(load_file(tmp_path / "w.safetensors"))
    done = program("synthesize", "cnn", "channels=[4]", "norm=batch", "head_kind=average", "--synthesizer", folder)
    assert done.returncode == 0, done.stderr
    assert "buffers: recalibrated on training images" in done.stdout


def test_evaluate_measures_before_and_after_and_writes_only_where_told(
    program: Run, folder: Path, tmp_path: Path
) -> None:
    command = ("synthesize", "nets:Normalised", "--synthesizer", folder, "-n", 2, "--evaluate")
    done = program(*command)
    assert done.returncode == 0, done.stderr
    assert made(tmp_path) == set()
    assert done.stdout.count("; before recalibration: accuracy") == 2
    assert "buffers: recalibrated on training images" in done.stdout
    document = json.loads(program(*command, "--json", "--out", "w.safetensors").stdout)
    assert document["kind"] == "synthesis"
    assert document["headline"]["recalibrated"]
    rows = document["rows"]
    assert [row["file"] for row in rows] == ["w-00000.safetensors", "w-00001.safetensors"]
    module, data = Normalised(), ws.load_dataset("digits", image_size=8)
    module.load_state_dict(load_file(tmp_path / "w-00001.safetensors"))
    predicted = module.eval()(data.test.images).argmax(1)
    assert rows[1]["accuracy"] == pytest.approx(float((predicted == data.test.labels).double().mean()), abs=0.01)
    plain = program(*command, "--no-recalibrate")
    assert "before recalibration" not in plain.stdout
    assert "warning: running statistics stand as in the module" in plain.stdout
    assert plain.returncode == 0


def test_what_fails_leaves_no_folder_and_none_of_several_files(
    program: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = program("synthesize", "nets:Nope", "--synthesizer", folder, "--out", "new/deep/w.safetensors")
    assert done.returncode == 2
    assert made(tmp_path) == set()
    files = network_files(tmp_path / "new" / "w.safetensors", 3)
    renamed = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target == files[0]:  # the last that gets its name
            raise OSError(28, "No space left on device")
        return renamed(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(EnvironmentFault):
        write_networks(tmp_path / "new" / "w.safetensors", files, [{"a": torch.ones(2)}] * 3)
    assert made(tmp_path) == {"new"}


def test_images_to_measure_on_are_asked_for_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(request: object) -> None:
        raise EnvironmentFault("MNIST is not at hand", "use dataset=digits")

    monkeypatch.setattr("weightsmith.datasets.load_dataset", missing)
    with pytest.raises(EnvironmentFault, match=r"MNIST is not at hand(.|\n)*leave --evaluate out"):
        _test_images(small_covers())


def test_what_was_not_understood_is_said(program: Run, folder: Path) -> None:
    done = program("synthesize", "nets:Cumulative", "--synthesizer", folder)
    assert done.returncode == 0, done.stderr
    assert "not generated: marks: as in the module, since no operation reads it" in done.stdout
    assert "not generated: unread.weight: initialised by unread, since no operation reads it" in done.stdout
    assert "warning: operation 'cumsum' is not understood: tensors that nothing else reads are init" in done.stdout
    assert "not generated: shift: as in the module, since the operation that reads it (heaviside" in done.stdout
    found = json.loads(program("synthesize", "nets:Cumulative", "--synthesizer", folder, "--evaluate", "--json").stdout)
    assert "cumsum" in found["headline"]["not_understood"]
    assert {"tensor": "marks", "reason": "no operation reads it", "source": "stands"} in found["headline"][
        "not_generated"
    ]


def test_the_graph_that_was_read_is_drawn(program: Run, folder: Path, tmp_path: Path) -> None:
    command = ("synthesize", "nets:Cumulative", "--synthesizer", folder, "--evaluate", "--picture")
    for name in ("graph.svg", "graph.png"):
        done = program(*command, name)
        assert done.returncode == 0, done.stderr
        assert f"graph: {name}" in done.stdout
    assert "cumsum" in (tmp_path / "graph.svg").read_text()
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
    assert program(*command, "graph.svg").returncode == 2


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("nets:Cumulative", "--strict"), "'cumsum' is not understood"),
    (("nets:Perceptron", "hidden=40", "--strict"), "a linear layer of 40 units (first.weight)"),
    (("nets:Perceptron", "classes=7"), "digits has 10 classes"),
    (("nets:Perceptron", "spam=7"), "spam"),
    (("nets:Flat",), "--input-shape|as input shape"),
    (("nets:Flat", "--input-shape", "8by8"), "is not a shape"),
    (("nets:Flat", "--input-shape", "65"), "input shape [65] does not fit images [1, 8, 8] of digits"),
    (("nets:Undecided",), "the operations of Undecided cannot be traced"),
    (("nets:raising", "width=3"), "raises RuntimeError: no network of width 3"),
    (("nets:number",), "gave a int, not a torch.nn.Module"),
    (("nets:Perceptrn",), "did you mean 'Perceptron'?"),
    (("nowhere.at.all:Net",), "cannot import 'nowhere.at.all'"),
    (("mpl",), "'mlp'"),
    (("nets:Perceptron", "hidden"), "is not section.key=value"),
    (("nets:Perceptron", "--dataset", "mnist"), "trained for data set 'digits', not 'mnist'"),
    (("nets:Perceptron", "-n", "0"), "Invalid value for '-n'"),
    (("nets:Perceptron", "--out", "taken.safetensors"), "taken.safetensors exists"),
    (("nets:Perceptron", "--out", "full"), "full exists"),
    (("nets:Perceptron", "--picture", "taken.safetensors"), "no picture can be written as 'taken.safetensors'"),
    (("nets:Perceptron", "--out", "weights.pt"), "does not end in .safetensors"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_mistakes_are_named_and_leave_nothing(
    program: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "taken.safetensors").write_bytes(b"mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"mine")
    done = program("synthesize", *arguments, "--synthesizer", folder)
    assert done.returncode == 2, done.stdout
    assert any(one in done.stderr for one in said.split("|")), done.stderr
    assert "Traceback" not in done.stderr
    assert made(tmp_path) == {"taken.safetensors", "full", "full/mine"}
    assert (tmp_path / "taken.safetensors").read_bytes() == b"mine"


def test_a_synthesizer_that_is_none_is_refused(program: Run, tmp_path: Path) -> None:
    for name, said in (("no-such", "no-such is no folder"), (tmp_path, "no config.json")):
        done = program("synthesize", "nets:Perceptron", "--synthesizer", name)
        assert done.returncode == 2
        assert said in done.stderr
        assert "remedy" in done.stderr
    done = program("synthesize", "nets:Perceptron", "--dataset", "digits")
    assert done.returncode == 2
    assert "there is one for mnist" in done.stderr


def test_all_files_are_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [{"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.complex64)}]  # the second cannot be written
    for out in (tmp_path / "w.safetensors", tmp_path / "w"):
        with pytest.raises(ws.WeightsmithError, match="complex64"):
            write_networks(out, network_files(out, 2), states)
    assert made(tmp_path) == set()
    assert outputs.SUFFIX == ".safetensors"


def test_a_mistyped_option_is_a_mistake_of_what_was_typed(program: Run) -> None:
    for arguments in (("synthesize", "cnn", "chanels=[4]"), ("graph", "cnn", "--option", "chanels=[4]")):
        done = program(*arguments)
        assert done.returncode == 2
        assert "what was typed holds 1 mistake" in done.stderr
        assert "the nearest is 'channels'" in done.stderr
