"""Runs in this process: stages, resumption, what is refused, and equal zoos whatever the number of workers."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weightsmith.engines.local import LocalEngine
from weightsmith.errors import ArtifactError, BadInput, EnvironmentFault, RecipeError
from weightsmith.files import exclusive_lock
from weightsmith.hashed import read_sealed_json
from weightsmith.pipeline import STAGES, RunFolder, run_pipeline
from weightsmith.pipeline.stages import complete
from weightsmith.record import read_records
from weightsmith.reporter import Silent
from weightsmith.settings.loading import load_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.synthesizer import Synthesizer
from weightsmith.zoo import Zoo


class Heard(Silent):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str, total: int) -> None:
        self.stages.append(title)


def hashes(zoo: Path) -> list[tuple[object, int, str]]:
    opened = Zoo.open(zoo)
    opened.verify()
    return sorted((row.run, row.step, row.sha256) for row in opened.rows)


def models(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.glob("synthesizer/*/*/model.safetensors")}


def metrics(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def facts(run: Path) -> list[object]:
    """What was measured, without what depends on the clock."""
    records = [record.to_json() for record in read_records(run / "records.jsonl")]
    for record in records:
        record["metrics"].pop("seconds", None)
        record.pop("command")
        record.pop("environment")
    return records


def times(run: Path, *but: str) -> dict[str, int]:
    found = {str(p.relative_to(run)): p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    return {name: time for name, time in found.items() if not name.startswith(but) and not name.endswith(".lock")}


def smaller(recipe: Recipe, **zoo: object) -> Recipe:
    """One budget of no epochs, and changes to the zoo."""
    training = recipe.training.model_copy(update={"budgets": {"untrained": 0}, "headline": "untrained"})
    return recipe.model_copy(update={"training": training, "zoo": recipe.zoo.model_copy(update=zoo)})


def test_a_run_holds_what_the_design_says(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir() if path.name != ".lock"}
    assert names == {
        *("run.json", "recipe.yaml", "environment.json", "zoo", "synthesizer", "samples"),
        *("records.jsonl", "metrics.jsonl", "report.html", "plots"),
    }
    assert not list(tiny_run.rglob("*.tmp"))
    assert not list(tiny_run.rglob("unfinished*"))


def test_the_written_recipe_states_every_choice(tiny_run: Path, tiny_recipe: Recipe) -> None:
    written = load_recipe(str(tiny_run / "recipe.yaml"))
    assert written == tiny_recipe, "nothing was left to choose"
    assert read_sealed_json(tiny_run / "run.json")["resolved"] == written.model_dump(mode="json")


def test_choices_are_made_once(tmp_path: Path) -> None:
    asked = load_recipe("mnist-trajectory", ["dataset=digits"])
    run = RunFolder.prepare(tmp_path / "run", asked)
    chosen = run.recipe
    assert chosen.device in ("cpu", "cuda", "mps")
    assert chosen.zoo.workers >= 1
    assert chosen.zoo.threads >= 1
    assert {chosen.zoo.precision, chosen.evaluation.precision} <= {"bf16", "fp32"}
    assert RunFolder.prepare(tmp_path / "run", asked).recipe == chosen


def test_stages_one_by_one_equal_the_whole(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    expected = {
        "zoo": {"zoo"},
        "train": {"zoo", "synthesizer", "metrics.jsonl"},
        "evaluate": {"zoo", "synthesizer", "metrics.jsonl", "samples", "records.jsonl"},
    }
    run = tmp_path / "run"
    assert list(STAGES) == [*expected, "report"], "the report is written in the next tests"
    for stage, names in expected.items():
        run_pipeline(tiny_recipe, run, until=stage)
        basic = {"run.json", "recipe.yaml", "environment.json"}
        assert {p.name for p in run.iterdir() if p.name != ".lock"} == basic | names
    assert hashes(run / "zoo") == hashes(tiny_run / "zoo")
    assert hashes(run / "samples") == hashes(tiny_run / "samples")
    assert models(run) == models(tiny_run)
    assert metrics(run) == metrics(tiny_run)
    assert facts(run) == facts(tiny_run)


def test_running_again_does_nothing_twice(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    before, records = times(run), (run / "records.jsonl").read_bytes()
    heard = Heard()
    run_pipeline(tiny_recipe, run, until="evaluate", reporter=heard)
    assert heard.stages == []
    assert times(run) == before
    assert (run / "records.jsonl").read_bytes() == records


def test_a_deleted_report_is_written_again(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    text = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    shutil.rmtree(run / "plots")
    before = times(run, "report", "plots")
    run_pipeline(tiny_recipe, run)
    assert (run / "report.html").read_bytes() == text
    assert times(run, "report", "plots") == before


def test_a_deleted_synthesizer_is_trained_again(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    before = models(run)
    shutil.rmtree(run / "synthesizer" / "pipeline-1" / "converged")
    run_pipeline(tiny_recipe, run, until="train")
    assert models(run) == before
    assert sorted(metrics(run), key=str) == sorted(metrics(tiny_run), key=str)


def test_a_zoo_of_samples_is_a_zoo(tiny_run: Path) -> None:
    samples = Zoo.open(tiny_run / "samples")
    assert samples.verify().rows == 3 * 5 * 2
    row = samples.rows[0]
    provenance = samples.provenance(row)
    source = Synthesizer.load(tiny_run / provenance["synthesizer"])
    assert samples.read([row]).layout == source.layout
    assert row.metrics.keys() >= {"accuracy", "loss", "nearest_checkpoint_distance"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["zoo.epochs=3"], ["zoo.epochs: 2 -> 3"]),
        (["seed=1", "training.batch_size=2"], ["seed: 0 -> 1", "training.batch_size: 4 -> 2"]),
        (["architecture.options.hidden=[9]"], ["architecture.options.hidden"]),
        (["dataset.image_size=12"], ["dataset.image_size: 8 -> 12"]),
    ],
)
def test_resume_with_another_recipe(
    tiny_run: Path, tiny_recipe_file: Path, changes: Sequence[str], named: Sequence[str]
) -> None:
    before = times(tiny_run)
    with pytest.raises(BadInput) as error:
        run_pipeline(load_recipe(str(tiny_recipe_file), changes), tiny_run)
    assert all(text in str(error.value) for text in named)
    assert "choose another folder with --out" in error.value.remedy
    assert times(tiny_run) == before


def write_images(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(60) % 2)


def test_resume_with_another_data_set(tiny_recipe: Recipe, tmp_path: Path) -> None:
    write_images(tmp_path / "mine.npz", 0)
    dataset = tiny_recipe.dataset.model_copy(update={"name": str(tmp_path / "mine.npz"), "image_size": None})
    recipe = smaller(tiny_recipe, runs=1, epochs=1).model_copy(update={"dataset": dataset})
    run = run_pipeline(recipe, tmp_path / "run", until="zoo")
    del run
    before = times(tmp_path / "run")
    write_images(tmp_path / "mine.npz", 1)
    for attempt in (lambda: run_pipeline(recipe, tmp_path / "run"), lambda: RunFolder.open(tmp_path / "run").dataset):
        with pytest.raises(BadInput, match=r"is not the one that (.|\n)*restore the data"):
            attempt()
        gc.collect()  # the data set is shared as long as anything, such as that traceback, holds it
    assert times(tmp_path / "run") == before
    write_images(tmp_path / "mine.npz", 0)
    run_pipeline(recipe, tmp_path / "run", until="train")


def test_missing_and_unknown_data_sets(tiny_recipe: Recipe, tiny_recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the nearest is 'digits'"):
        load_recipe(str(tiny_recipe_file), ["dataset=digit"])
    missing = tiny_recipe.dataset.model_copy(update={"name": "./missing.npz"})
    with pytest.raises(BadInput, match=r"'./missing.npz' does not exist"):
        run_pipeline(tiny_recipe.model_copy(update={"dataset": missing}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_that_the_architecture_cannot_read(tiny_recipe_file: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "mine.npz", 0)
    changes = [f"dataset={tmp_path / 'mine.npz'}", "dataset.image_size=null", "architecture=twolayers:net"]
    (tmp_path / "twolayers.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(5, 2)\n")
    recipe = load_recipe(str(tiny_recipe_file), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(BadInput, match=r"'twolayers:net' cannot read images \[1, 4, 4\]"):
            run_pipeline(recipe, tmp_path / "run")


def test_a_folder_with_other_things(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_bytes(b"x")
    with pytest.raises(BadInput, match="is not a weightsmith run and not empty"):
        run_pipeline(tiny_recipe, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become another user")
def test_a_read_only_folder_is_refused_before_work_starts(tiny_recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                run_pipeline(tiny_recipe, folder / "run")
            except EnvironmentFault as error:
                status = 0 if "choose a folder that you may write to" in error.remedy else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not list(folder.iterdir())


def test_a_run_that_was_killed_while_it_was_prepared(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightsmith.pipeline import folder

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    for name, written in (("write_sealed_json", set()), ("write_bytes", {"run.json"})):
        with monkeypatch.context() as patch:
            patch.setattr(folder, name, kill)
            with pytest.raises(Killed):
                RunFolder.prepare(tmp_path / "run", tiny_recipe)
        assert {path.name for path in (tmp_path / "run").iterdir()} == written
    RunFolder.prepare(tmp_path / "run", tiny_recipe)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "recipe.yaml", "environment.json"}


def test_one_process_at_a_time(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = RunFolder.prepare(tmp_path / "run", tiny_recipe)
    with exclusive_lock(run.path / ".lock", "the run"), pytest.raises(EnvironmentFault, match="another process"):
        complete(run)
    assert not run.zoo.exists()


def test_damaged_records_are_refused(tiny_run: Path, tmp_path: Path, program: object) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    records = run / "records.jsonl"
    data = bytearray(records.read_bytes())
    data[len(data) // 2] ^= 1
    records.write_bytes(data)
    done = program("report", run)  # type: ignore[operator]
    assert done.returncode == 2
    assert f"{records} line" in done.stderr
    assert "delete it and run the command that made it again" in done.stderr
    records.write_bytes((tiny_run / "records.jsonl").read_bytes()[:-5])
    done = program("report", run)  # type: ignore[operator]
    assert done.returncode == 2
    assert "ends in the middle of a line" in done.stderr
    assert (run / "report.html").read_bytes() == (tiny_run / "report.html").read_bytes()


@pytest.mark.parametrize("whole", [0, 1, 9, 10, 15, 20, 47, -1])
def test_records_that_were_lost_are_measured_again(
    tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path, whole: int
) -> None:
    """Wherever the log was cut: in the middle of a unit its other records do not stand for it."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:whole]) + lines[whole][:9])
    run_pipeline(tiny_recipe, run, until="evaluate")
    assert facts(run) == facts(tiny_run)


def test_the_order_in_which_runs_end_changes_nothing(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Workers finish in any order, and the zoo stores the runs as they come."""

    def reversed_map(self: LocalEngine, function: Any, tasks: Any, report: Any) -> Any:
        return (function(task, report, lambda: None) for task in reversed(tasks))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalEngine, "map", reversed_map)
        run = run_pipeline(tiny_recipe, tmp_path / "run", until="evaluate")
    assert Zoo.open(run.zoo).runs == [2, 1, 0]
    assert facts(run.path) == facts(tiny_run)


def test_a_report_needs_only_the_records(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "zoo")
    STAGES["report"].do(RunFolder.open(run), Silent())


def test_a_damaged_manifest_is_refused(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = (tiny_run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"epochs": 2', '"epochs": 3'))
    with pytest.raises(ArtifactError, match="was changed or damaged"):
        run_pipeline(tiny_recipe, run)


@pytest.mark.slow  # its quick sister is the interruption of two workers in `tests/faults`
def test_two_workers_build_the_same_zoo(tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = run_pipeline(smaller(tiny_recipe, workers=2), tmp_path / "run", until="zoo")
    assert hashes(run.zoo) == hashes(tiny_run / "zoo")


def test_unseen_inits_are_unseen(tiny_run: Path, tiny_recipe: Recipe) -> None:
    """No run starts from an init that the evaluation starts from."""
    from weightsmith.pipeline.bench import Bench

    run = RunFolder.prepare(tiny_run, tiny_recipe)
    bench = Bench(run)
    started = {tuple(weights[0].vectors[0].tolist()) for weights, _ in bench.trajectories}
    unseen = {tuple(row) for pipeline in range(3) for row in bench.unseen_inits(pipeline).vectors.tolist()}
    assert len(unseen) == 15
    assert not started & unseen
