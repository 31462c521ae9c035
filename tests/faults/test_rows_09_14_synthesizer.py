"""Rows 1, 2, 9, 13, 14 and 23 to 25 for synthesizers and runs: full disks, kills, damage, and code in a folder."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from damage import cut, fill, flipped
from interrupted_runs import leftovers, outcome, stages_refused
from small_zoo import kill_while
from through_kills import Moments

from weightsmith.architectures import Architecture
from weightsmith.errors import ArtifactError, BadInput, EnvironmentFault, WeightsmithError
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.layout import Weights
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.record import read_records
from weightsmith.settings.recipe import Recipe
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.zoo import Zoo

FORM = Architecture("mlp", (1, 2, 2), 2, {"hidden": [1]})
GENERATOR = Part("transition", {"time_embedding": 1, "hidden": 1, "layers": 1})


def small_synthesizer(form: Architecture = FORM) -> Synthesizer:
    weights = Weights.of(*[FORM.build(seed) for seed in range(3)])
    return Synthesizer.fit(weights, form, Part("flat"), GENERATOR, seed=0).with_provenance({"made by": "a test"})


def same(one: Synthesizer, other: Synthesizer) -> bool:
    start = Weights.of(FORM.build(9))
    samples = [synthesizer.sample(1, start=start).vectors for synthesizer in (one, other)]
    return torch.equal(*samples) and one.provenance == other.provenance


# Row 9: a full disk.


@pytest.mark.parametrize("leave", [0, 4096, 8192])
def test_full_disk_while_a_synthesizer_is_saved(small_disk: Path, leave: int) -> None:
    small_synthesizer().save(small_disk / "first")
    filler = fill(small_disk, leave)
    with pytest.raises(EnvironmentFault, match="free some disk space"):
        small_synthesizer().save(small_disk / "second")
    assert {path.name for path in small_disk.iterdir()} == {"first", "filler"}
    assert same(Synthesizer.load(small_disk / "first"), small_synthesizer())
    filler.unlink()
    small_synthesizer().save(small_disk / "second")
    assert same(Synthesizer.load(small_disk / "second"), small_synthesizer())


def test_full_disk_anywhere_in_a_run(small_disk: Path, tiny_run: Path, tiny_recipe: Recipe) -> None:
    """The same run, given a little more space each time, gets further each time, and ends as if never stopped."""
    run, made = small_disk / "run", ("records.jsonl", "samples", "synthesizer", "zoo")
    reached = stages_refused(small_disk, lambda: run_pipeline(tiny_recipe, run, until="evaluate"), run, made)
    assert len(reached) >= 3, f"the disk was full in several stages, {reached}"
    run_pipeline(tiny_recipe, run, until="evaluate")
    assert outcome(run) == outcome(tiny_run)
    assert not leftovers(run)
    samples = [[(row.run, row.step, row.sha256) for row in Zoo.open(at / "samples").rows] for at in (run, tiny_run)]
    assert samples[0] == samples[1]
    assert len(read_records(run / "records.jsonl")) == len(read_records(tiny_run / "records.jsonl"))


def test_full_disk_has_its_exit_status(small_disk: Path, tiny_recipe_file: Path, program: Run) -> None:
    filler = fill(small_disk, 12 * 1024)
    command = ["zoo", "build", tiny_recipe_file, "zoo.runs=1", "--out", small_disk / "run"]
    done = program(*command)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "remedy: free some disk space and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    filler.unlink()
    assert program(*command).returncode == 0


# Rows 1 and 2: kills.


def test_a_synthesizer_killed_while_saved_is_there_or_not(tmp_path: Path) -> None:
    moments, expected = Moments(0.12, seed=0), small_synthesizer()

    def save_many(folder: Path) -> None:
        for number in range(10_000):
            expected.save(folder / str(number))

    whole = 0
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        kill_while(lambda folder=folder: save_many(folder), moments.draw())  # type: ignore[misc]
        saved = [path for path in folder.iterdir() if path.suffix != ".tmp"]
        for path in sorted(saved, key=lambda path: int(path.name))[-2:]:  # a kill meets the last
            assert same(Synthesizer.load(path), expected)
        whole += len(saved)
        moments.adapt(hit=True, amid=whole > 0)
    assert whole > 0


def test_leftovers_of_a_killed_process_are_swept_when_the_run_goes_on(
    tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    places = [run, run / "synthesizer" / "pipeline-0", run / "plots", run / "zoo" / "unfinished"]
    for place in places:

        def write(place: Path = place) -> None:
            from weightsmith.files import replacing, replacing_folder

            with replacing(place / "file") as file, replacing_folder(place / "folder") as folder:
                file.write_bytes(b"half")
                (folder / "model.safetensors").write_bytes(b"half")
                os.kill(os.getpid(), 9)

        child = os.fork()
        if child == 0:
            write()
        os.waitpid(child, 0)
        (place / ".weightsmith-elsewhere-1-00000000.tmp").write_bytes(b"another host's")
        assert len(list(place.glob(".weightsmith-*"))) == 3
    RunFolder.prepare(run, tiny_recipe)
    for place in places:
        assert [path.name for path in place.glob(".weightsmith-*")] == [".weightsmith-elsewhere-1-00000000.tmp"]


# Rows 13 and 14: damage.


@pytest.mark.parametrize("damaged", [cut, flipped])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_at_any_byte_is_refused(tmp_path: Path, name: str, damaged: Callable[[bytes], Iterator[bytes]]) -> None:
    folder = tmp_path / "synthesizer"
    small_synthesizer().save(folder)
    data = (folder / name).read_bytes()
    for changed in damaged(data):
        (folder / name).write_bytes(changed)
        with pytest.raises(ArtifactError, match=r".+"):
            Synthesizer.load(folder)
    (folder / name).write_bytes(data)
    assert same(Synthesizer.load(folder), small_synthesizer())


def test_a_card_is_for_people(tmp_path: Path) -> None:
    small_synthesizer().save(tmp_path / "s")
    (tmp_path / "s" / "README.md").write_bytes(b"\xff")
    assert same(Synthesizer.load(tmp_path / "s"), small_synthesizer())


def test_an_existing_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(BadInput, match="exists"):
        small_synthesizer().save(tmp_path / "s")
    assert not list((tmp_path / "s").iterdir())


def forged(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


FORGERIES: list[tuple[str, Any]] = [
    ("schema", "weightsmith.synthesizer/2"),
    ("architecture.name", None),
    ("codec.name", "spam"),
    ("generator.name", "../../x"),
    ("model_sha256", "0" * 64),
    ("architecture", None),
    ("layout", None),
    ("layout", []),
    ("codec", None),
    ("codec.options", {"spam": 1}),
    ("codec", {"name": "flat", "options": {}, "spam": 1}),
    ("generator", None),
    ("generator.options", {"hidden": "many"}),
    ("generator.options", {"time_embedding": 1, "hidden": 2, "layers": 1}),
    ("dim", None),
    ("dim", "nine"),
    ("dim", 10**7),
    ("model_sha256", None),
    ("provenance", None),
]


def forgery(path: str, value: Any) -> Any:
    return pytest.param(path, value, id=f"{path}={value!r:.40}")


@pytest.mark.parametrize(("path", "value"), [forgery(*entry) for entry in FORGERIES])
def test_a_config_that_is_whole_and_wrong_is_refused(tmp_path: Path, path: str, value: Any) -> None:
    """Its hash can be made by anyone, so what it says must be checked, and before memory is taken for it."""
    folder = tmp_path / "s"
    small_synthesizer().save(folder)
    write_sealed_json(folder / "config.json", forged(read_sealed_json(folder / "config.json"), path, value))
    with pytest.raises(WeightsmithError) as error:
        Synthesizer.load(folder)
    assert error.value.exit_status == 2


# Rows 23 to 25: code.


def plant(folder: Path, name: str, marker: Path) -> None:
    """A module that leaves a mark when it is imported."""
    folder.mkdir(exist_ok=True)
    code = f"from pathlib import Path\nfrom torch import nn\nPath({str(marker)!r}).touch()\n"
    code += "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (folder / f"{name}.py").write_text(code)


def test_code_named_by_a_synthesizer_is_never_imported(
    tmp_path: Path, program: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    plant(tmp_path, "planted_architecture", marker)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small_synthesizer(Architecture("planted_architecture:net", (1, 2, 2), 2)).save(tmp_path / "s")
    loaded = Synthesizer.load(tmp_path / "s")
    with pytest.raises(BadInput, match=r"a file may not choose which code is run(.|\n)*type the name yourself"):
        loaded.architecture.build(0)
    with pytest.raises(BadInput, match="type the name yourself"):
        loaded.sample(1)
    assert len(loaded.sample(2, start=Weights.of(FORM.build(0), FORM.build(1)))) == 2, "the rest of it works"
    for arguments in (["sample", "s", "--out", "out"], ["evaluate", "s", "--dataset", "digits"]):
        done = program(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    assert "planted_architecture" not in sys.modules
    assert not marker.exists()


def test_code_named_by_a_run_is_imported_only_for_who_types_it(
    tmp_path: Path, program: Run, tiny_recipe_file: Path
) -> None:
    marker = tmp_path / "ran"
    plant(tmp_path, "planted_network", marker)
    typed = ["train", tiny_recipe_file, "architecture=planted_network:net", "zoo.runs=1", "zoo.epochs=1"]
    typed += ["training.budgets={untrained: 0}", "training.headline=untrained", "--out", "run"]
    assert program("zoo", "build", *typed[1:]).returncode == 0
    assert marker.exists(), "typed on the command line"
    marker.unlink()
    refused = program("evaluate", "run")
    assert refused.returncode == 2
    assert "a file may not choose which code is run" in refused.stderr
    for command in ("list", "verify"):
        assert program("zoo", command, "run/zoo").returncode == 0
    assert not marker.exists(), "found in a folder"
    done = program(*typed)
    assert done.returncode == 0, done.stderr


class Malice:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_other_files_in_a_folder_are_never_read(
    tmp_path: Path, program: Run, tiny_run: Path, tiny_recipe_file: Path
) -> None:
    marker, run = tmp_path / "ran", tmp_path / "run"
    shutil.copytree(tiny_run, run)
    synthesizer = run / "synthesizer" / "pipeline-0" / "converged"
    pickled = pickle.dumps(Malice(marker))
    planted = []
    for folder in (run, run / "zoo", run / "zoo" / "segments", run / "samples", synthesizer):
        for name in ("metadata.pkl", "config.pickle", "pytorch_model.bin", "training.pt", "joblib.pkl"):
            (folder / name).write_bytes(pickled)
            planted.append(folder / name)
        plant(folder, "__init__", marker)
        plant(folder, "sitecustomize", marker)
    for arguments in (
        ["run", tiny_recipe_file, "--out", run],
        ["zoo", "verify", run / "zoo"],
        ["zoo", "list", run / "samples"],
        ["sample", synthesizer, "--out", tmp_path / "out"],
    ):
        done = program(*arguments, cwd=run)
        assert done.returncode in (0, 2), done.stderr
        assert "Traceback" not in done.stderr
    assert not marker.exists()
    assert all(path.read_bytes() == pickled for path in planted)
