"""Replicas: the parameters of the moment, order, errors that come back, processes that die and parents that do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from replica_work import Holder, multiplied, noted

from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.objectives.replicas import Replicas

SOON = 120.0  # seconds; a busy machine takes long to start a process


pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture
def holder() -> Holder:
    return Holder(3.0)


@pytest.fixture
def replicas(holder: Holder) -> Iterator[Replicas]:
    found = Replicas(2, 3, holder, multiplied)
    yield found
    found.close()


def test_jobs_are_shared_out_and_answered_in_order_with_the_parameters_of_now(
    replicas: Replicas, holder: Holder
) -> None:
    first = replicas.results([1.0, 2.0, 5.0], [1.0, 3.0, 1.0])
    assert [found.loss for found in first] == [3.0, 6.0, 15.0]
    assert [float(found.gradient) for found in first] == [30.0, 60.0, 150.0]
    assert os.getpid() not in {found.seconds for found in first}
    with torch.no_grad():
        holder.network.weight.fill_(-1.0)
    assert [found.loss for found in replicas.results([1.0, 2.0], [1.0, 1.0])] == [-1.0, -2.0]
    assert [float(found.gradient) for found in first] == [30.0, 60.0, 150.0]  # copies, not the place where they came
    assert [found.loss for found in replicas.results([4.0], [1.0])] == [-4.0]  # with nothing for one of them
    assert max(replicas.peaks) > 10


def test_the_longest_jobs_are_begun_first(holder: Holder) -> None:
    alone = Replicas(1, 3, holder, noted)
    assert [found.loss for found in alone.results([0, 1, 2], [1.0, 3.0, 2.0])] == [2.0, 0.0, 1.0]
    alone.close()


def test_an_error_of_a_job_is_raised_here(replicas: Replicas) -> None:
    with pytest.raises(BadInput, match="job 'fail' fails"):
        replicas.results([1.0, "fail"], [2.0, 1.0])


def test_a_process_that_died_is_said_with_what_to_do(replicas: Replicas) -> None:
    child = int(replicas.results([1.0, 2.0], [2.0, 1.0])[1].seconds)
    os.kill(child, signal.SIGKILL)
    with pytest.raises(EnvironmentFault) as caught:
        replicas.results([1.0, 2.0], [2.0, 1.0])
    assert "a process that computes gradients died" in caught.value.message
    assert "run the same command again" in caught.value.remedy
    assert "universal.workers=1" in caught.value.remedy


def test_a_replica_ends_when_it_is_told_to(replicas: Replicas) -> None:
    child = int(replicas.results([1.0, 2.0], [2.0, 1.0])[1].seconds)
    os.kill(child, signal.SIGTERM)  # as a scheduler does to all: there is time to finish an update
    assert [found.loss for found in replicas.results([1.0, 2.0], [2.0, 1.0])] == [3.0, 6.0]
    replicas.close()
    assert not exists(child)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="watches processes through /proc")
def test_replicas_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"import replica_work, pathlib; replica_work.start_and_wait(pathlib.Path({str(tmp_path)!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    child = int(until(lambda: (tmp_path / "replica").exists() and (tmp_path / "replica").read_text()))
    assert exists(child)
    assert child != parent.pid
    parent.kill()
    parent.wait()
    until(lambda: not exists(child))


def exists(process: int) -> bool:
    """Whether it runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(what: object) -> str:
    """The first true answer. Fails when there is none soon."""
    ends = time.monotonic() + SOON
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            if found := what():  # type: ignore[operator]
                return str(found)
        time.sleep(0.02)
    raise AssertionError("this did not happen soon")
