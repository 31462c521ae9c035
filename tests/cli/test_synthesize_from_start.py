"""`weightsmith synthesize --start`: networks that begin at weights in files, which are opened safely."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from conftest import Run
from safetensors.torch import load_file, save_file
from small_universal import Perceptron, small_started, small_universal

import weightsmith as ws

FEWER = {name: value for name, value in Perceptron().state_dict().items() if name != "last.weight"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthesizers")
    small_started().save(path / "started")
    small_universal().save(path / "noise")
    return path


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("from small_universal import Perceptron\n")
    torch.manual_seed(0)
    save_file(Perceptron().state_dict(), tmp_path / "a.safetensors")
    torch.save(Perceptron().state_dict(), tmp_path / "b.pt")
    save_file(Perceptron(12).state_dict(), tmp_path / "wide.safetensors")
    save_file(FEWER, tmp_path / "fewer.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-8])
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(print))


def test_one_network_comes_of_every_file(program: Run, folders: Path, tmp_path: Path) -> None:
    command = ("synthesize", "nets:Perceptron", "--synthesizer", folders / "started")
    done = program(*command, "--start", "a.safetensors", "--start", "b.pt", "--out", "w.safetensors")
    assert done.returncode == 0, done.stderr
    assert "network 0: from a.safetensors; w-00000.safetensors" in done.stdout
    starts = [load_file(tmp_path / "a.safetensors"), torch.load(tmp_path / "b.pt", weights_only=True)]
    expected = ws.synthesize(Perceptron(), synthesizer=folders / "started", start=starts)
    for i, state in enumerate(expected):
        found = load_file(tmp_path / f"w-0000{i}.safetensors")
        assert all(torch.equal(found[name], value) for name, value in state.items())
    done = program(*command, "--start", "a.safetensors", "--evaluate", "--json")
    assert json.loads(done.stdout)["rows"][0]["start"] == "a.safetensors"
    done = program(*command, "--seed", 3)
    assert done.returncode == 0, done.stderr
    fresh = ws.synthesize(Perceptron(), n=1, seed=3, synthesizer=folders / "started")[0]
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["last.weight"], fresh["last.weight"])


MISTAKES: list[tuple[str, tuple[str, ...], str]] = [
    ("noise", ("--start", "a.safetensors"), "writes from noise and reads no start"),
    ("started", ("--start", "wide.safetensors"), "'first.weight' of the start is [12, 64], not [11, 64]"),
    ("started", ("--start", "fewer.safetensors"), "'last.weight' is missing in the start"),
    ("started", ("--start", "cut.safetensors"), "cut.safetensors has"),
    ("started", ("--start", "nowhere.safetensors"), "cannot read nowhere.safetensors"),
    ("started", ("--start", "nets.py"), "has suffix '.py'"),
    ("started", ("--start", "evil.pt"), "evil.pt is not a zip-format PyTorch file"),
    ("started", ("--start", "a.safetensors", "-n", "2"), "-n 2 for 1 of --start"),
]


@pytest.mark.parametrize(("folder", "arguments", "said"), MISTAKES)
def test_mistakes_are_named_and_leave_nothing(
    program: Run, folders: Path, tmp_path: Path, folder: str, arguments: tuple[str, ...], said: str
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    done = program("synthesize", "nets:Perceptron", "--synthesizer", folders / folder, *arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "remedy" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before
