"""The contract of every engine."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_work
import pytest

from weightsmith.engines.cluster import joined
from weightsmith.engines.local import IN_FLIGHT, LocalEngine
from weightsmith.engines.ray import RayEngine
from weightsmith.errors import ArtifactError, EnvironmentFault, Interrupted
from weightsmith.interruption import deferred_signals

WORKERS = 2
ENGINES = {
    "this process": LocalEngine(1, 1),
    "two processes": LocalEngine(WORKERS, 1),
    "Ray": RayEngine(None, 1),
}


def ignore(event: Any) -> None:
    pass


@pytest.fixture(scope="module")
def own_ray() -> Iterator[Any]:
    """One Ray for all tests here, since starting one takes seconds."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'weightsmith[cluster]'")
    with joined(None, WORKERS) as ray:
        yield ray


@pytest.fixture(params=ENGINES, ids=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "Ray":
        request.getfixturevalue("own_ray")
    if request.param == "two processes":
        request.getfixturevalue("quick_workers")
    return ENGINES[request.param]


def test_every_task_gives_one_result_and_its_events_in_order(engine: Any) -> None:
    heard: list[tuple[str, int]] = []
    results = list(engine.map(engine_work.square, list(range(25)), heard.append))
    assert sorted(results) == [i * i for i in range(25)], "in whatever order"
    assert sorted(heard) == sorted((kind, i) for kind in ("begun", "done") for i in range(25))
    assert all(heard.index(("begun", i)) < heard.index(("done", i)) for i in range(25))


def test_no_tasks(engine: Any) -> None:
    assert list(engine.map(engine_work.square, [], ignore)) == []


def test_events_arrive_while_work_goes_on(engine: Any, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()

    def answer(event: tuple[str, str]) -> None:
        (tmp_path / event[1] / "go").touch()

    assert sorted(engine.map(engine_work.wait_until_told, folders, answer)) == ["a", "b"]


@pytest.mark.parametrize("name", engine_work.ERRORS)
def test_errors_are_pickled_whole(name: str) -> None:
    found, wanted = pickle.loads(pickle.dumps(engine_work.ERRORS[name])), engine_work.ERRORS[name]
    assert type(found) is type(wanted)
    assert vars(found) == vars(wanted)
    assert str(found) == str(wanted)


def test_errors_stay_what_they_are(engine: Any) -> None:
    wanted = engine_work.ERRORS["ArtifactError"]
    with pytest.raises(ArtifactError) as caught:
        list(engine.map(engine_work.fail, ["ArtifactError", "ArtifactError"], ignore))
    assert type(caught.value) is ArtifactError
    assert vars(caught.value) == vars(wanted)
    with pytest.raises(ValueError, match="my own"):
        list(engine.map(engine_work.fail, ["my own", "my own"], ignore))


def test_results_are_the_callers_own(engine: Any) -> None:
    """Not in shared memory, which is small in many containers."""
    results = list(engine.map(engine_work.ones, [300_000, 300_001], ignore))
    assert sorted(len(result) for result in results) == [300_000, 300_001]
    assert all(bool((result == 1).all()) and not result.is_shared() for result in results)


def test_work_has_the_threads_it_was_given(engine: Any) -> None:
    assert list(dataclasses.replace(engine, threads=2).map(engine_work.threads, [0, 0], ignore)) == [2, 2]


def test_few_tasks_are_in_flight(engine: Any) -> None:
    """A zoo of a million runs must fit in memory."""
    engine_work.Counted.sent = 0
    results = engine.map(engine_work.number_of, [engine_work.Counted(i) for i in range(60)], ignore)
    for taken in range(1, 21):
        next(results)
        assert engine_work.Counted.sent <= taken + IN_FLIGHT * 2 * WORKERS
    assert len(list(results)) == 40


def begun_and_stopped(folder: Path) -> tuple[set[str], set[str]]:
    names = [path.name.split("-") for path in folder.iterdir()]
    begun, stopped = ({number for what, number in names if what == wanted} for wanted in ("begun", "stopped"))
    return begun, stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_all_work_at_a_safe_point(engine: Any, tmp_path: Path, number: int) -> None:
    sent: list[int] = []

    def interrupt(event: Any) -> None:
        if not sent:  # a second one would act at once
            sent.append(number)
            os.kill(os.getpid(), number)

    tasks = [(tmp_path, i) for i in range(1, 9)]
    with deferred_signals(), pytest.raises(Interrupted) as caught:
        list(engine.map(engine_work.wait_until_stopped, tasks, interrupt))
    assert caught.value.signal_number == number
    begun, stopped = begun_and_stopped(tmp_path)
    assert begun
    assert begun == stopped


def test_workers_that_are_terminated_stop_at_a_safe_point_too(tmp_path: Path) -> None:
    """Job schedulers signal all processes, and not the one alone that could tell the others."""
    sent: list[int] = []

    def terminate(event: Any) -> None:
        if not sent:
            sent.append(signal.SIGTERM)
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    tasks = [(tmp_path, i) for i in range(1, 9)]
    with deferred_signals(), pytest.raises(Interrupted):
        list(LocalEngine(2, 1).map(engine_work.wait_until_stopped, tasks, terminate))
    begun, stopped = begun_and_stopped(tmp_path)
    assert begun
    assert begun == stopped


def test_work_stops_when_nobody_listens(engine: Any, tmp_path: Path) -> None:
    results = engine.map(engine_work.wait_until_stopped, [(tmp_path, i) for i in range(8)], ignore)
    assert next(results) == 0
    results.close()
    begun, stopped = begun_and_stopped(tmp_path)
    assert begun == stopped


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match=r"Ray is not installed\n  remedy: pip install 'weightsmith\[cluster\]'"):
        list(RayEngine(None, 1).map(engine_work.square, [1], ignore))


def test_idle_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    """They wait for tasks on a pipe of which each of them holds both ends, so that it never closes."""
    child = os.fork()
    if child == 0:
        for _ in LocalEngine(WORKERS, 1).map(engine_work.named, [tmp_path] * WORKERS, ignore):
            time.sleep(60)  # with the result in hand, and nothing more for the workers to do
        os._exit(1)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.1)
