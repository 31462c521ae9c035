"""What is measured when a zoo is begun, and written down: method, group size, workers and threads."""

from __future__ import annotations

import pytest

from weightsmith.engines.local import share_cores, usable_cores
from weightsmith.ensemble import Rate
from weightsmith.pipeline import planning
from weightsmith.pipeline.planning import ZooPlan, requests_of, resolve
from weightsmith.settings.loading import parse_recipe
from weightsmith.settings.recipe import Recipe, ZooSettings

TEXT = """\
name: planned
description: A zoo that leaves everything to the machine.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 20}
"""


def recipe(*changes: str) -> Recipe:
    return parse_recipe(TEXT, overrides=changes)


def resolved(*changes: str) -> ZooSettings:
    return resolve(recipe(*changes)).zoo


def rates(monkeypatch: pytest.MonkeyPatch, steps: dict[tuple[str, int], float]) -> list[tuple[str, int, int]]:
    """Rates as if they had been measured, with what was asked for."""
    asked: list[tuple[str, int, int]] = []

    def rate(spec: object, plan: object, method: str, size: int, threads: int) -> Rate:
        asked.append((method, size, threads))
        return Rate(method, size, threads, steps[method, size] * threads**0.5)  # type: ignore[arg-type]

    monkeypatch.setattr(planning, "_rate", rate)
    return asked


def test_nothing_is_left_to_choose_and_it_stays_so() -> None:
    zoo = resolved()
    assert zoo.method in ("loop", "stacked")
    assert zoo.precision in ("bf16", "fp32")
    assert min(zoo.group_size, zoo.workers, zoo.threads) >= 1
    first = resolve(recipe())
    assert resolve(first) == first, "what was chosen is not measured again"


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "usable_cores", lambda: 2)
    steps = {("loop", 1): 1000.0, ("stacked", 16): 7000.0, ("stacked", 32): 9000.0, ("stacked", 50): 8000.0}
    asked = rates(monkeypatch, steps)
    zoo = resolved("zoo.runs=100")
    assert [(method, size) for method, size, _ in asked] == list(steps)
    assert (zoo.method, zoo.group_size) == ("stacked", 50), "one round of 50 is sooner done than two of 32"
    assert (zoo.workers, zoo.threads) == (2, 1)
    steps["loop", 1] = 10_000.0
    assert resolved("zoo.runs=100").method == "loop"


def test_few_runs_are_trained_one_by_one_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rates(monkeypatch, {})
    zoo = resolved("zoo.runs=4", "zoo.workers=2")
    assert (zoo.method, zoo.group_size, zoo.workers) == ("loop", 1, 2)
    assert not asked


@pytest.mark.parametrize("method", ["stacked", "vmap"])
def test_a_method_that_was_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    asked = rates(monkeypatch, {(method, size): float(size) for size in (10, 16, 32)})
    zoo = resolved(f"zoo.method={method}", "zoo.workers=2", "zoo.threads=1")
    assert (zoo.method, zoo.group_size) == (method, 10)
    assert not asked, "there is one size for 20 runs and two workers"
    zoo = resolved(f"zoo.method={method}", "zoo.workers=2", "zoo.threads=1", "zoo.runs=64")
    assert (zoo.method, zoo.group_size) == (method, 32)
    assert {name for name, _, _ in asked} == {method}
    zoo = resolved(f"zoo.method={method}", "zoo.group_size=7", "zoo.workers=2")
    assert (zoo.method, zoo.group_size) == (method, 7)


def test_threads_are_measured_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "usable_cores", lambda: 4)
    asked = rates(monkeypatch, {("loop", 1): 1.0})
    zoo = resolved("architecture=target_cnn", "zoo.runs=5", "zoo.epochs=50")
    assert {threads for _, _, threads in asked} == {1, 2, 4}
    assert (zoo.workers, zoo.threads) == (4, 1), "two rounds at 1 against three at 1.4 and five at 2"
    asked.clear()
    assert resolved("architecture=target_cnn", "zoo.runs=8").workers == 4
    assert not asked, "8 runs share out evenly"


def test_cores_are_shared_by_what_threads_are_worth() -> None:
    assert share_cores(3, 2, lambda threads: 1.0) == (2, 1)
    assert share_cores(3, 2, float) == (1, 2)
    assert share_cores(4, 2, float) == (2, 1)
    assert share_cores(1, 8, lambda threads: threads**0.5) == (1, 8)
    assert usable_cores() >= 1


def test_every_data_set_that_may_be_drawn_is_named_once() -> None:
    varied = recipe("vary.dataset=[digits, {name: digits, image_size: 8}, digits]")
    assert [request.image_size for request in requests_of(varied)] == [None, 8]
    assert [request.image_size for request in requests_of(recipe())] == [8]
    plan = ZooPlan(varied, True)
    assert {spec.architecture.input_shape for spec in plan.specs} == {(1, 28, 28), (1, 8, 8)}
    assert {spec.data for spec in plan.specs} == {data.fingerprint for data in plan.datasets.values()}
