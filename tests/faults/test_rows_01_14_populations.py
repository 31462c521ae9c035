"""Rows 1 to 14 while generators over a population are trained: kills, resumption, full disks, damage, other recipes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from damage import fill
from interrupted_runs import learned, leftovers, stages_refused, start, start_program
from kill_counts import Count
from small_populations import CODECS, TEXT, files, interrupted, make_zoo, recipe, state_of, trained
from through_kills import Moments, ended_through_kills

from weightsmith.errors import ArtifactError, BadInput, EnvironmentFault
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.pipeline import run_pipeline
from weightsmith.pipeline.population import measure
from weightsmith.record import read_records
from weightsmith.reporter import Silent
from weightsmith.synthesizer import Synthesizer
from weightsmith.tensorfile import read_state, write_state
from weightsmith.training import trainer
from weightsmith.zoo import RowInfo, Zoo

LONG = "training.budgets={some: 40}"  # so that many moments lie amid the training


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_zoo(tmp_path_factory.mktemp("zoo") / "run")


@pytest.fixture(scope="module")
def whole(zoo: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody interrupted."""
    return trained(tmp_path_factory.mktemp("whole") / "run", zoo).path


# Rows 4 and 6: interruption.


VARIANTS = {
    **CODECS,
    "transformer, noise": [
        "generator.options={denoiser: transformer, path: vp-cosine, prediction: noise, sampler: ddpm, width: 16}"
    ],
    "adamw, patience": ["training.optimizer=adamw", "training.weight_decay=0.1", "training.patience=1"],
    "bf16, memory": ["training.precision=bf16", "training.schedule=cosine", "generator.options.memory=5"],
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_row_6_training_that_stops_between_updates_goes_on_bitwise(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    straight = trained(tmp_path / "straight", zoo, *changes).path
    stops = 0
    while interrupted(tmp_path / "halting", 2, monkeypatch, zoo, *changes):
        assert state_of(tmp_path / "halting").exists()
        stops += 1
    assert stops >= 2
    assert learned(tmp_path / "halting") == learned(straight)
    assert not state_of(tmp_path / "halting").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_4_a_signal_saves_the_state_and_says_how_to_resume(
    zoo: str, whole: Path, tmp_path: Path, program: Run, number: int
) -> None:
    (tmp_path / "population.yaml").write_text(TEXT)
    arguments = ["train", tmp_path / "population.yaml", zoo, "--out", tmp_path / "run"]
    child, pipe = start_program(*arguments, hold="] mlp: epoch 1,")
    with os.fdopen(pipe) as stderr:
        said = ""
        for text in stderr:
            said += text
            if "] mlp: epoch 1," in text:
                os.kill(child, number)
                break
        said += stderr.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number, said
    assert f"interrupted by signal {int(number)}, state saved" in said
    assert state_of(tmp_path / "run").is_file()
    command = shlex.split(said.partition("resume with: ")[2])
    assert command == ["weightsmith", *map(str, arguments)]
    done = program(*command[1:])
    assert done.returncode == 0, done.stderr
    assert learned(tmp_path / "run") == learned(whole)


def test_row_6_kills_at_any_moment_change_nothing(zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = learned(trained(tmp_path / "straight", zoo, LONG).path)
    monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.0)
    count = Count()

    def work(run: Path) -> None:
        trained(run, zoo, LONG)

    def amid(run: Path) -> bool:
        return state_of(run).exists()

    for run in ended_through_kills(work, tmp_path / "killed", count, 5, Moments(0.3, seed=0), amid):
        assert learned(run) == straight
        assert not leftovers(run)
    assert count["amid"] > 0


# Rows 1 and 2: killed while a file or a synthesizer gets its name.


SHORT = "training.budgets={none: 0, some: 2}"


def killed_at(number: int, run: Path, zoo: str) -> bool:
    """Whether a training was killed just before the file or folder of this number was given its name."""

    def work() -> None:
        moves = iter(range(number))

        def dying(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
            def moved(self: Path, target: Path) -> Path:
                if next(moves, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return move(self, target)

            return moved

        Path.replace, Path.rename = dying(Path.replace), dying(Path.rename)  # type: ignore[method-assign, assignment]
        trained(run, zoo, SHORT)

    child, pipe = start(work)
    os.close(pipe)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_rows_1_and_2_killed_before_any_file_or_synthesizer_gets_its_name(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """The manifest and what stands beside it, states, and what a synthesizer's folder holds, one after the other."""
    monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", -1.0)
    straight = learned(trained(tmp_path / "straight", zoo, SHORT).path)
    number, states = stride // 2, 0
    while killed_at(number, tmp_path / str(number), zoo):
        run = tmp_path / str(number)
        if state_of(run).exists():
            read_state(state_of(run))
            states += 1
        for saved in run.glob("synthesizer/pipeline-0/*/config.json"):
            Synthesizer.load(saved.parent)
        trained(run, zoo, SHORT)
        assert learned(run) == straight
        assert not leftovers(run)
        number += stride
    assert number >= 8
    assert states


def test_row_2_a_state_that_nothing_needs_any_more_is_swept(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process that was killed after its last synthesizer."""
    assert interrupted(tmp_path / "run", 5, monkeypatch, zoo)
    state = state_of(tmp_path / "run").read_bytes()
    trained(tmp_path / "run", zoo)
    state_of(tmp_path / "run").write_bytes(state)
    trained(tmp_path / "run", zoo)
    assert not state_of(tmp_path / "run").exists()


# Row 8: what belongs to another recipe, or to other networks.


@pytest.mark.parametrize(
    "changes", [["training.learning_rate=0.01"], ["seed=1"], CODECS["unit by position"], ["training.average=0.5"]]
)
def test_row_8_the_state_of_another_training_is_refused(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    assert interrupted(tmp_path / "other", 4, monkeypatch, zoo)
    assert interrupted(tmp_path / "run", 4, monkeypatch, zoo, *changes)
    state_of(tmp_path / "run").write_bytes(state_of(tmp_path / "other").read_bytes())
    before = files(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"_unfinished.safetensors is the state of another training(.|\n)*delete"):
        trained(tmp_path / "run", zoo, *changes)
    assert files(tmp_path / "run") == before


def test_row_8_a_zoo_that_has_changed_is_refused(zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs would be dealt anew, and what was learned from would be held out."""
    own = make_zoo(tmp_path / "own")
    folder = Path(own.removeprefix("zoo.folder="))
    trained(tmp_path / "run", own)
    assert interrupted(tmp_path / "begun", 5, monkeypatch, own)
    rows = Zoo.open(folder).rows[-1:]
    with Zoo.writer(folder) as writer:
        weights = writer.zoo.read(rows)
        for number in range(4):
            info = RowInfo(100 + number, 3, number, {"accuracy": 0.1, "loss": 1.0})
            writer.append(weights, [info], writer.zoo.provenance(rows[0]))
    before = files(tmp_path / "run")
    for until in ("train", "evaluate"):
        with pytest.raises(BadInput, match=r"no longer holds the networks of mlp(.|\n)*restore the zoo"):
            run_pipeline(recipe(own), tmp_path / "run", until=until)
    assert files(tmp_path / "run") == before
    with pytest.raises(BadInput, match="no longer holds the networks of mlp"):
        trained(tmp_path / "begun", own)


# Row 9: a full disk.


def test_row_9_full_disk_anywhere_in_a_population_run(
    small_disk: Path, zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(measure, "RATE_SECONDS", 0.0)
    wanted = recipe(zoo, "training.budgets={some: 2}", "generator.options.width=4")
    straight = run_pipeline(wanted, tmp_path / "straight", until="evaluate").path
    run, made = small_disk / "run", ("records.jsonl", "samples", "synthesizer/pipeline-0/some", "metrics.jsonl")
    reached = stages_refused(small_disk, lambda: run_pipeline(wanted, run, until="evaluate"), run, made)
    assert len(reached) >= 2, f"the disk was full in several stages, {reached}"
    run_pipeline(wanted, run, until="evaluate")
    assert learned(run) == learned(straight)
    assert len(read_records(run / "records.jsonl")) == len(read_records(straight / "records.jsonl"))


def test_row_9_full_disk_while_a_state_is_written_keeps_the_last(
    small_disk: Path, zoo: str, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_disk / "run"
    assert interrupted(run, 4, monkeypatch, zoo)
    before = state_of(run).read_bytes()
    filler = fill(small_disk, 8192)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*_unfinished.safetensors"):
        interrupted(run, 4, monkeypatch, zoo)
    assert state_of(run).read_bytes() == before
    filler.unlink()
    trained(run, zoo)
    assert learned(run) == learned(whole)


# Rows 11 and 12: two at once.


def test_row_11_a_second_process_is_told_and_another_run_may_learn_from_the_same_zoo(
    zoo: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = threading.Event(), threading.Event()
    ended: list[Any] = []

    def wait(text: str, by: int = 1, fresh: bool = True) -> None:
        reached.set()
        assert go.wait(30)

    class Waiting(Silent):
        advance = staticmethod(wait)  # type: ignore[assignment]

    work = threading.Thread(
        target=lambda: ended.append(run_pipeline(recipe(zoo), tmp_path / "one", until="train", reporter=Waiting()))
    )
    work.start()
    assert reached.wait(30)
    with pytest.raises(EnvironmentFault, match=r"the run .*one"):
        trained(tmp_path / "one", zoo)
    assert learned(trained(tmp_path / "two", zoo).path) == learned(whole)
    go.set()
    work.join()
    assert ended
    assert learned(tmp_path / "one") == learned(whole)


# Rows 13 and 14: damage.


def test_rows_13_14_a_damaged_state_is_refused_and_left(
    zoo: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted(tmp_path / "run", 5, monkeypatch, zoo)
    state = state_of(tmp_path / "run")
    data = state.read_bytes()
    for position in range(0, len(data), 1 + len(data) // 40):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        for damaged in (bytes(changed), data[:position]):
            state.write_bytes(damaged)
            with pytest.raises(ArtifactError, match=r"(?s)_unfinished.safetensors"):
                trainer.read_training_state(state, "any")
    state.write_bytes(bytes(changed))
    before = files(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"_unfinished\.safetensors"):
        trained(tmp_path / "run", zoo)
    assert files(tmp_path / "run") == before
    state.unlink()
    trained(tmp_path / "run", zoo)
    assert learned(tmp_path / "run") == learned(whole)


def without(prefix: str) -> Any:
    return lambda tensors, document: [tensors.pop(name) for name in list(tensors) if name.startswith(prefix)]


FOREIGN: dict[str, Any] = {
    "a part of the document is missing": lambda tensors, document: document.pop("best"),
    "a part of the document is new": lambda tensors, document: document["epoch"].update(new=1),
    "a part of the document is of another kind": lambda tensors, document: document.update(epoch=3),
    "no network": without("network."),
    "no averages": without("average."),
    "no optimizer": without("optimizer."),
    "no noise": without("noise."),
    "noise of another kind": lambda tensors, document: tensors.update({"noise.state": torch.zeros(3)}),
    "a network of another shape": lambda tensors, document: tensors.update(
        {name: torch.zeros(2, 3, 4) for name in tensors if name.startswith("network.")}
    ),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_row_14_a_whole_state_of_another_version_is_refused(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    assert interrupted(tmp_path / "run", 5, monkeypatch, zoo)
    tensors, document = read_state(state_of(tmp_path / "run"))
    change(tensors, document)
    write_state(state_of(tmp_path / "run"), tensors, document)
    before = files(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"_unfinished.safetensors is whole, and not a state of this version"):
        trained(tmp_path / "run", zoo)
    assert files(tmp_path / "run") == before


FORGERIES: dict[str, list[tuple[str, Any]]] = {
    "unit, canonical": [
        ("codec.options.canonical", False),
        ("codec.options.roles", ["weight"]),
        ("codec.options.standardise", "position"),
        ("codec.options.width", -1),
        ("codec.name", "flat"),
        ("generator.options.width", 2**24),
        ("generator.options.blocks", 256),
        ("generator.options.memory", 2**20),
        ("generator.options.condition_width", 2**24),
        ("generator.options.denoiser", "transformer"),
        ("generator.options.conditions", []),
        ("generator.options.conditions", ["accuracy", "loss"]),
        ("generator.options.given", False),
        ("generator.options.path", "spam"),
        ("generator.options.steps", 0),
        ("dim", 10**7),
    ],
    "flat, weights only": [
        ("codec.options.roles", ["bias"]),
        ("codec.options.roles", None),
        ("codec.options.roles", []),
        ("codec.options.canonical", False),
    ],
    "pca": [
        ("codec.options.components", 2),
        ("codec.options.components", 2**24),
        ("codec.options.whiten", False),
        ("codec.options.canonical", True),
    ],
    "span": [("codec.name", "pca")],
    "autoencoder": [
        ("codec.options.latent", 2),
        ("codec.options.latent", 2**24),
        ("codec.options.hidden", [2**24, 2**24]),
        ("codec.options.hidden", []),
    ],
    "unit by position": [("codec.options.standardise", "tensor")],
}


@pytest.mark.parametrize("name", CODECS)
def test_rows_13_14_and_19_synthesizers_of_every_codec_are_damaged_and_forged(
    zoo: str, tmp_path: Path, name: str
) -> None:
    folder = trained(tmp_path / "run", zoo, *CODECS[name], "training.budgets={some: 1}").synthesizer(0, "some")
    expected = Synthesizer.load(folder).sample(2, seed=1).vectors
    for file in ("config.json", "model.safetensors"):
        data = (folder / file).read_bytes()
        for position in range(0, len(data), 1 + len(data) // 30):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            for damaged in (bytes(changed), data[:position]):
                (folder / file).write_bytes(damaged)
                with pytest.raises(ArtifactError, match=str(folder)):
                    Synthesizer.load(folder)
        (folder / file).write_bytes(data)
    config = read_sealed_json(folder / "config.json")
    for path, value in FORGERIES[name]:
        document = json.loads(json.dumps(config))
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[last] = value
        write_sealed_json(folder / "config.json", document)
        with pytest.raises(ArtifactError, match=str(folder)):
            Synthesizer.load(folder)
    write_sealed_json(folder / "config.json", config)
    assert torch.equal(Synthesizer.load(folder).sample(2, seed=1).vectors, expected)
