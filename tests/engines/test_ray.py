"""Ray: nodes and processes that die, nodes that join, clusters that are not there, and a Ray of our own."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import engine_work
import pytest
from conftest import TINY

from weightsmith.engines import cluster as clusters
from weightsmith.engines import ray as engines
from weightsmith.engines.cluster import joined
from weightsmith.engines.local import LocalEngine
from weightsmith.engines.ray import RayEngine
from weightsmith.engines.remote import Surroundings
from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.pipeline.planning import ZooPlan, resolve
from weightsmith.settings.loading import parse_recipe
from weightsmith.zoo import Zoo
from weightsmith.zoo.build import build_zoo

pytest.importorskip("ray", reason="Ray is not installed: pip install 'weightsmith[cluster]'")

# So that a lost node is missed after two seconds, and not after fifteen.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


class Nodes:
    """A cluster on this machine whose head does no work; nodes of one core are added and killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers: dict[str, Any] = {}

    def add(self) -> str:
        node = self.cluster.add_node(num_cpus=1)
        self.workers[node.node_id] = node
        return node.node_id

    def kill(self, node: str) -> None:
        self.cluster.remove_node(self.workers.pop(node), allow_graceful=False)

    def ensure(self, count: int) -> None:
        while len(self.workers) < count:
            self.add()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    before = signal.getsignal(signal.SIGTERM)  # each node sets a handler in this process that ends it with status 1
    nodes = Nodes()
    nodes.add()
    with joined(nodes.cluster.address, 1):  # once, since the workers of each driver import torch anew
        yield nodes
    nodes.cluster.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    cluster.ensure(1)
    return cluster


def run(
    function: Callable[..., Any], tasks: list[Any], report: Callable[[Any], None] = lambda event: None
) -> list[Any]:
    return list(RayEngine("auto", 1).map(function, tasks, report))


def test_a_node_that_joins_is_used_and_a_lost_one_costs_no_result(nodes: Nodes, tmp_path: Path) -> None:
    gate, places = tmp_path / "gate", dict[int, str]()

    def hear(event: tuple[int, str]) -> None:
        places.setdefault(*event)
        if gate.exists():
            return
        nodes.ensure(2)
        if len(set(places.values())) == 2:
            nodes.kill(event[1])  # it holds an unfinished task: the gate is shut
            gate.touch()

    results = run(engine_work.hold, [(gate, i, 0) for i in range(6)], hear)
    assert gate.exists()
    assert sorted(number for number, _ in results) == list(range(6)), "each once"


def test_a_result_that_is_lost_with_its_node_is_made_again(nodes: Nodes, tmp_path: Path) -> None:
    """It was done, and had not been fetched."""
    nodes.ensure(2)
    gate, places = tmp_path / "gate", dict[int, str]()
    gate.touch()
    size = 5_000_000  # kept where it was made, as all that is not small
    results = RayEngine("auto", 1).map(
        engine_work.hold, [(gate, i, size) for i in range(4)], lambda event: places.update([event])
    )
    numbers = [next(results)[0]]
    time.sleep(2)  # the others end
    nodes.kill(next(node for node in nodes.workers if node in places.values()))
    for number, data in results:
        assert len(data) == size
        numbers.append(number)
    assert sorted(numbers) == [0, 1, 2, 3]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(engines, "DEATHS", 3)
    monkeypatch.setattr(engines, "NODES_SECONDS", 0.0)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_process_that_dies_now_and_then_is_replaced(nodes: Nodes, tmp_path: Path) -> None:
    assert sorted(run(engine_work.die, [(tmp_path / "sound", 0), (tmp_path / "weak", 2)])) == ["sound", "weak"]


@pytest.mark.usefixtures("impatient")
def test_a_task_that_always_kills_its_process_is_given_up(nodes: Nodes, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"3 worker processes died on the same task(.|\n)*remedy: "):
        run(engine_work.die, [(tmp_path / "hopeless", 1000)])
    assert len((tmp_path / "hopeless").read_bytes()) == 3


@pytest.mark.usefixtures("impatient")
def test_no_node_can_hold_a_task(nodes: Nodes) -> None:
    engine = RayEngine("auto", 64)
    with pytest.raises(EnvironmentFault, match=r"no node of the Ray cluster has 64 CPUs(.|\n)*remedy: start a worker"):
        list(engine.map(engine_work.square, [1], lambda event: None))
    with pytest.raises(EnvironmentFault, match=r"has 1 CPUs and 0\.5 GPUs"):
        list(RayEngine("auto", 1, gpus=0.5).map(engine_work.square, [1], lambda event: None))


def test_an_error_that_cannot_travel_comes_as_its_text(nodes: Nodes) -> None:
    with pytest.raises(RuntimeError, match="OddError: very odd") as caught:
        run(engine_work.fail, ["OddError"])
    assert "engine_work.py" in str(caught.value.__cause__), "where on the worker it arose"


def test_workers_have_the_drivers_folder_and_variables(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHTSMITH_DATA_DIR", "data")
    assert run(engine_work.see, ["WEIGHTSMITH_DATA_DIR"]) == [("data", str(tmp_path))]


def test_another_version_would_train_other_networks() -> None:
    ours = Surroundings.of_this_process(1, ())
    for name in ("torch", "weightsmith"):
        with pytest.raises(EnvironmentFault, match=f"{name} is .*, and 0.0.1 where the work was started"):
            dataclasses.replace(ours, **{name: "0.0.1"}).enter()
    dataclasses.replace(ours, torch=ours.torch.partition("+")[0] + "+other").enter()


@dataclasses.dataclass
class Held:
    """Builds a zoo on two nodes and kills one of them when it is in the middle of a run."""

    nodes: Nodes
    gate: Path
    shared: bool
    places: dict[int, str] = dataclasses.field(default_factory=dict)

    def map(self, function: Callable[..., Any], tasks: Any, report: Callable[[Any], None]) -> Iterator[Any]:
        held = partial(engine_work.train_held, function, self.gate, self.shared)
        yield from RayEngine("auto", 1).map(held, tasks, partial(self.hear, report))

    def hear(self, report: Callable[[Any], None], event: Any) -> None:
        if isinstance(event, tuple):
            self.places.setdefault(*event)
            return
        report(event)
        if len(set(self.places.values())) == 2 and not self.gate.exists():
            self.nodes.kill(self.places[event.run])
            self.gate.touch()


def build(path: Path, engine: Any, *overrides: str) -> list[tuple[Any, ...]]:
    """What a zoo comes to that an engine builds: its networks, in the order of runs."""
    recipe = resolve(parse_recipe(TINY, "tiny", ["zoo.epochs=4", "zoo.runs=4", *overrides]))
    zoo = build_zoo(path, ZooPlan(recipe, typed_by_user=True).tasks, engine, {})
    zoo.verify()
    return sorted((row.run, row.step, row.seed, str(row.metrics), row.sha256) for row in Zoo.open(path).rows)


@pytest.mark.parametrize(
    ("shared", "method"),
    [
        (True, ["zoo.method=stacked", "zoo.group_size=2", "zoo.runs=8"]),
        pytest.param(True, ["zoo.method=loop"], marks=pytest.mark.slow),
        pytest.param(False, ["zoo.method=loop"], marks=pytest.mark.slow),
    ],
    ids=["in groups", "one by one", "one by one, its folder seen by the driver alone"],
)
def test_a_zoo_that_loses_a_node_is_the_local_one(
    nodes: Nodes, tmp_path: Path, shared: bool, method: list[str]
) -> None:
    nodes.ensure(2)
    engine = Held(nodes, tmp_path / "gate", shared)
    found = build(tmp_path / "ray", engine, *method)
    assert engine.gate.exists()
    assert len(found) in (4 * 5, 8 * 5)
    assert found == build(tmp_path / "local", LocalEngine(1, 1), *method)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were not connected."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1.0)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(EnvironmentFault, match=f"no Ray cluster is reached at {scheme}127.0.0.1:{port}(.|\n)*remedy: "):
        list(RayEngine(f"{scheme}127.0.0.1:{port}", 1).map(engine_work.square, [1], lambda event: None))


@pytest.mark.usefixtures("alone")
def test_something_else_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match="does not answer as a Ray cluster"):
            list(RayEngine(address, 1).map(engine_work.square, [1], lambda event: None))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "ray://head"])
def test_no_address(address: str) -> None:
    with pytest.raises(BadInput, match="give auto, host:port or ray://host:port"):
        list(RayEngine(address, 1).map(engine_work.square, [1], lambda event: None))


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.append({folder!r})
import engine_work
from weightsmith.engines import ray as engines
from weightsmith.errors import WeightsmithError
from weightsmith.interruption import deferred_signals

folder = Path({work!r})
engines.PAUSE_SECONDS = 0.01

def said(event):
    print(event[0], flush=True)

try:
    with deferred_signals():
        print(sorted(engines.RayEngine(None, 1).map(engine_work.{function}, {tasks}, said)))
except WeightsmithError as error:
    print(error.message)
    sys.exit(error.exit_status)
finally:
    import ray
    print(ray.is_initialized())
"""


def script(folder: Path, function: str, tasks: str) -> list[str]:
    here = str(Path(engine_work.__file__).parent)
    text = SCRIPT.format(folder=here, work=str(folder), function=function, tasks=tasks)
    return [sys.executable, "-c", text]


@pytest.mark.slow
def test_a_ray_of_our_own_is_quiet_and_ends(tmp_path: Path) -> None:
    command = script(tmp_path, "die", "[(folder / 'a', 0), (folder / 'b', 1)]")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['a', 'b']\nFalse\n", "")


def signalled(command: list[str], number: int, send: Callable[[int, int], None]) -> tuple[int, str, str]:
    """What becomes of a program in its own process group that is signalled when it says that work has begun."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "begun\n"
        send(program.pid, number)
        out, err = program.communicate(timeout=120)
    return program.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)], ids=["to the driver", "to all"]
)
def test_a_signal_is_not_rays(tmp_path: Path, number: int, send: Callable[[int, int], None]) -> None:
    command = script(tmp_path, "wait_until_stopped", "[(folder, 1), (folder, 2), (folder, 3)]")
    status, out, err = signalled(command, number, send)
    assert status == 128 + number
    assert f"interrupted by signal {int(number)}, state saved\nFalse\n" in out
    assert not err
    begun, stopped = ({p.name[-1] for p in tmp_path.glob(f"{what}-*")} for what in ("begun", "stopped"))
    assert begun == stopped
