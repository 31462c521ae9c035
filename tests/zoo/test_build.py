"""Building zoos: runs grouped, trained together, the same whatever the engine, and what a row says of its making."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest
from weightsmith.engines.local import LocalEngine
from weightsmith.ensemble import Capture, TrainingPlan, train_networks
from weightsmith.errors import BadInput
from weightsmith.hashed import write_sealed_json
from weightsmith.layout import Weights
from weightsmith.pipeline import run_pipeline
from weightsmith.pipeline.planning import ZooPlan
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.zoo import Zoo, build
from weightsmith.zoo.build import build_zoo, divergences, train_group
from weightsmith.zoo.tasks import GroupTask, RunSpec, StatePlace, captures_of, group_runs
from weightsmith.zoo.unfinished import StateFile

DIGITS = DatasetRequest("digits", image_size=8)
MLP = Architecture("mlp", (1, 8, 8), 10, {"hidden": [7, 5]})
WIDER = Architecture("mlp", (1, 8, 8), 10, {"hidden": [9]})
CNN = Architecture("target_cnn", (1, 8, 8), 10, {"channels1": 2, "channels2": 3, "hidden": 4})
PLAN = TrainingPlan(2, 64, "adam", "fp32")
RECIPE = """\
name: grouped
description: Several forms, trained together where they can be.
device: cpu
dataset: {name: digits, image_size: 8}
zoo: {runs: 13, epochs: 3, precision: fp32, method: stacked, group_size: 4, workers: 1, threads: 1}
vary:
  architecture: [{name: mlp, options: {hidden: [7]}}, {name: mlp, options: {hidden: [6, 5]}},
    {name: target_cnn, options: {channels1: 2, channels2: 3, hidden: 4}}]
  learning_rate: {low: 1e-3, high: 1e-2, scale: log}
"""


def specs(*forms: Architecture, plan: TrainingPlan = PLAN) -> list[RunSpec]:
    return [RunSpec(run, form, DIGITS, plan, 1e-3 * (1 + run)) for run, form in enumerate(forms)]


def hashes(zoo: Zoo) -> dict[tuple[Any, int], str]:
    return {(row.run, row.step): row.sha256 for row in zoo.rows}


def built(path: Path, tasks: list[GroupTask], workers: int = 1) -> Zoo:
    return build_zoo(path, tasks, LocalEngine(workers, 1), {"made by": "a test"})


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(RECIPE, overrides=overrides)


def test_runs_are_dealt_evenly_and_each_once() -> None:
    groups = group_runs(specs(*[MLP, WIDER] * 5, CNN, MLP), 0, "stacked", 4, "cpu")
    assert [[spec.run for spec in group.runs] for group in groups] == [[0, 2, 4], [1, 3], [5, 7, 9], [6, 8, 11], [10]]
    assert [group.method for group in groups] == ["stacked"] * 4 + ["loop"]


def test_groups_hold_no_more_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightsmith.zoo.tasks.GROUP_BYTES", 3 * 4 * MLP.layout.parameters * captures_of(PLAN, 1))
    groups = group_runs(specs(*[MLP] * 7), 0, "stacked", 100, "cpu")
    assert [len(group.runs) for group in groups] == [2, 2, 3]


def test_one_by_one_where_the_method_does_not_fit_or_is_the_loop() -> None:
    assert [len(g.runs) for g in group_runs(specs(*[CNN] * 3), 0, "stacked", 4, "cpu")] == [1, 1, 1]
    assert {g.method for g in group_runs(specs(*[MLP] * 3), 0, "loop", 4, "cpu")} == {"loop"}
    assert {g.method for g in group_runs(specs(*[MLP] * 3), 0, "stacked", 1, "cpu")} == {"loop"}


@pytest.mark.parametrize(("steps", "expected"), [(0, 3), (5, 1 + 3), (2, 1 + 5 + 1), (1, 1 + 10)])
def test_captures_are_counted(steps: int, expected: int) -> None:
    assert captures_of(replace(PLAN, capture_steps=steps), images=4 * 64 + 1) == expected + (steps == 5) * -1


@pytest.mark.usefixtures("quick_workers")
def test_the_networks_do_not_depend_on_workers(tmp_path: Path) -> None:
    one = run_pipeline(recipe(), tmp_path / "one", until="zoo")
    two = run_pipeline(recipe("zoo.workers=2"), tmp_path / "two", until="zoo")
    assert hashes(Zoo.open(one.zoo)) == hashes(Zoo.open(two.zoo))
    assert len(hashes(Zoo.open(one.zoo))) == 13 * 4


def test_a_run_has_the_same_init_and_batches_whatever_the_grouping(tmp_path: Path) -> None:
    zoos = [built(tmp_path / str(size), group_runs(specs(*[MLP] * 5), 0, "stacked", size, "cpu")) for size in (1, 2, 5)]
    for run in range(5):
        trajectories = [zoo.trajectory(run)[0].vectors for zoo in zoos]
        for other in trajectories[1:]:
            assert torch.equal(other[0], trajectories[0][0])
            torch.testing.assert_close(other, trajectories[0], atol=1e-5, rtol=1e-4)


def test_shared_batches_are_shared_and_recorded(tmp_path: Path) -> None:
    shared = ZooPlan(recipe("vary={}", "architecture=mlp", "zoo.shared_batches=true"), True)
    orders = {spec.plan.order_seed for spec in shared.specs}
    assert len(orders) == 1
    assert None not in orders
    zoo = built(tmp_path / "zoo", group_runs(shared.specs[:3], 0, "stacked", 3, "cpu"))
    assert zoo.provenance(zoo.rows[0])["training"]["order_seed"] == orders.pop()
    alone = [group_runs([spec], 0, "loop", 1, "cpu")[0] for spec in shared.specs[:3]]
    torch.testing.assert_close(
        zoo.read(zoo.select(run=1)).vectors,
        built(tmp_path / "alone", alone).trajectory(1)[0].vectors,
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_row_says_how_it_was_made(tmp_path: Path) -> None:
    zoo = built(tmp_path / "zoo", group_runs(specs(MLP, MLP), 5, "stacked", 2, "cpu"))
    row = zoo.select(run=1, step=2)[0]
    assert row.extra == {
        **{"optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 0.0, "batch_size": 64},
        **{"architecture": "mlp", "dataset": "digits"},
    }
    assert row.metrics.keys() == {"accuracy", "loss", "train_loss"}
    assert zoo.provenance(row)["training"]["method"] == "stacked"
    assert zoo.provenance(row)["training"]["together"] == 2
    assert [row.run for row in zoo.select(where="learning_rate > 0.0015 and step = 0")] == [1]


@pytest.mark.parametrize("method", ["loop", "stacked"])
def test_steps_can_be_captured(tmp_path: Path, method: Any) -> None:
    plan = TrainingPlan(2, 640, "sgd", "fp32", capture_steps=2)  # 1,078 training images: two steps an epoch
    zoo = built(tmp_path / "zoo", group_runs(specs(MLP, MLP, plan=replace(plan, batch_size=300)), 0, method, 2, "cpu"))
    assert [row.step for row in zoo.select(run=1)] == [0, 2, 4, 6, 8]
    whole = built(
        tmp_path / "whole", group_runs(specs(MLP, MLP, plan=TrainingPlan(2, 300, "sgd", "fp32")), 0, method, 2, "cpu")
    )
    assert zoo.select(run=1, step=8)[0].sha256 == whole.select(run=1, step=2)[0].sha256


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_group_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    def until(*arguments: Any, **options: Any) -> Iterator[Capture]:
        for capture in train_networks(*arguments, **options):
            yield capture
            if capture.epoch == epoch:
                raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(build, "train_networks", until)
        with pytest.raises(Stop):
            run_pipeline(recipe(), tmp_path / "run", until="zoo")
    assert len(list((tmp_path / "run" / "zoo" / "unfinished").iterdir())) == 1
    run = run_pipeline(recipe(), tmp_path / "run", until="zoo")
    straight = run_pipeline(recipe(), tmp_path / "straight", until="zoo")
    assert hashes(Zoo.open(run.zoo)) == hashes(Zoo.open(straight.zoo))
    assert not (run.zoo / "unfinished").exists()


def test_one_of_a_group_diverges_and_the_others_are_whole(tmp_path: Path) -> None:
    wild = [
        RunSpec(run, MLP, DIGITS, TrainingPlan(3, 64, "sgd", "fp32"), rate)
        for run, rate in enumerate((1e-2, 1e30, 2e-2))
    ]
    zoo = built(tmp_path / "zoo", group_runs(wild, 0, "stacked", 3, "cpu"))
    assert [[row.step for row in zoo.select(run=run)] for run in (0, 1, 2)] == [[0, 1, 2, 3], [0], [0, 1, 2, 3]]
    assert divergences(zoo) == {1: "run 1: loss is nan in epoch 1"}
    calm = built(tmp_path / "calm", group_runs([replace(s, learning_rate=1e-2) for s in wild], 0, "stacked", 3, "cpu"))
    torch.testing.assert_close(calm.trajectory(0)[0].vectors, zoo.trajectory(0)[0].vectors, atol=1e-6, rtol=1e-5)


def test_a_state_is_used_only_beside_its_own_zoo(tmp_path: Path) -> None:
    """On another machine the path may be there, and be somebody else's."""
    (task,) = group_runs(specs(MLP), 0, "loop", 1, "cpu")
    zoo = Zoo.create(tmp_path / "zoo", {})
    file = tmp_path / "zoo" / "unfinished" / "run-0.safetensors"
    for place in (None, StatePlace(file, tmp_path / "zoo", "another"), StatePlace(file, tmp_path / "nowhere", zoo.id)):
        train_group(replace(task, state=place), lambda report: None, lambda: None)
        assert not file.exists()
    write_sealed_json(tmp_path / "zoo" / "zoo.json", ["not a manifest"])
    train_group(replace(task, state=StatePlace(file, tmp_path / "zoo", zoo.id)), lambda report: None, lambda: None)
    assert not file.exists()


def test_states_are_saved_seldom_when_they_are_dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightsmith.zoo import unfinished

    clock = [0.0]
    saved: list[int] = []

    def slowly(path: Path, tensors: Any, document: Any) -> None:
        clock[0] += 0.5
        saved.append(document["epoch"])

    monkeypatch.setattr(unfinished.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(unfinished, "write_state", slowly)
    state_file, captured = StateFile(tmp_path / "state", "task"), unfinished.Captured()
    weights = Weights.of(MLP.build(0))
    for epoch in range(1, 101):
        captured.add(epoch, weights, [{}])
        state_file.offer(captured, unfinished.TrainingState(epoch, weights, {}))
        clock[0] += 1.0
    state_file.flush()
    assert saved == [1, 51, 100] or (len(saved) == 3 and saved[-1] == 100)
    state_file.flush()
    assert len(saved) == 3, "what is saved is not saved again"


def test_other_data_than_the_zoo_was_begun_with_are_refused() -> None:
    (task,) = group_runs([replace(specs(MLP)[0], data="another")], 0, "loop", 1, "cpu")
    with pytest.raises(BadInput, match=r"'digits' on .* is not the one that the zoo is made with"):
        train_group(task, lambda report: None, lambda: None)
