"""A Ray cluster: joined, or started on this machine; how much work fits on it; what of the driver its workers get."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightsmith.engines.local import usable_cores
from weightsmith.errors import BadInput, EnvironmentFault, Interrupted

CONNECT_SECONDS = 20.0
REMEDY = (
    "check the address, the network, the versions of Python and Ray there and here, and the token (docs/cluster.md)"
)
_TOKEN_REMEDY = "copy ~/.ray/auth_token from its head to this machine, and set RAY_AUTH_MODE=token"
# Nothing of this program goes to Ray's makers.
_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0"}
# What decides how numbers are computed, and where data sets are.
_PASSED_ON = ("ATEN_", "CUBLAS_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "PYTORCH_", "TORCH_", "WEIGHTSMITH_")


@contextlib.contextmanager
def joined(address: str | None, threads: int) -> Iterator[Any]:
    """The module `ray`, connected; what was connected before is left so, what is connected here is shut down.

    `address` is `auto`, `host:port` or `ray://host:port`; none starts Ray on this machine, for tasks of `threads`.
    Raises `EnvironmentFault` when Ray is missing or the cluster is not reached, `BadInput` for another address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    if address is not None:
        _require_reachable(address)
    with _unheard(ray):
        with _variables(_PRIVATE), _own_signals():
            _connect(ray, address, max(threads, usable_cores()))
        try:
            yield ray
        finally:
            ray.shutdown()


def import_ray() -> Any:
    """The module `ray`, imported only where it is used. Raises `EnvironmentFault` when it is missing."""
    try:
        import ray
    except ImportError:
        raise EnvironmentFault("Ray is not installed", "pip install 'weightsmith[cluster]'") from None
    return ray


def slots_of(ray: Any, threads: int, gpus: float) -> int:
    """How many tasks of so many threads and GPUs the nodes that are alive hold at once."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        int(min(node.get("CPU", 0) // threads, node.get("GPU", 0) // gpus if gpus else math.inf)) for node in nodes
    )


def passed_on() -> dict[str, str]:
    """The driver's environment variables that its workers must have, too."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}


def own_folders() -> tuple[str, ...]:
    """The folders that this process imports a user's own modules from: all but those of the Python installation."""
    installed = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix)}
    folders = [Path(folder).absolute() for folder in sys.path]  # "" is the current one
    return tuple(str(folder) for folder in folders if not installed.intersection(folder.parents))


def _connect(ray: Any, address: str | None, cores: int) -> None:
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except SystemExit:  # how Ray answers to SIGTERM while it starts
        raise Interrupted(signal.SIGTERM) from None
    except Exception as error:  # of many types, none of them about what this program did
        ray.shutdown()
        said = (str(error).splitlines() or [type(error).__name__])[0]
        where = "start Ray on this machine" if address is None else f"connect to the Ray cluster at {address}"
        raise EnvironmentFault(f"cannot {where}: {said}", REMEDY) from error


def _require_reachable(address: str) -> None:
    """Refuse in bounded time what Ray would try to reach for a quarter of an hour, printing as it goes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise BadInput(f"Ray address {address!r}", "give auto, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise EnvironmentFault(f"no Ray cluster is reached at {address}: {error}", REMEDY) from error
    if not address.startswith("ray://"):  # a Ray client gives up by itself
        _require_answer(address)


def _require_answer(address: str) -> None:
    probe = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        answer = subprocess.run(probe, capture_output=True, text=True, timeout=CONNECT_SECONDS)
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"what listens at {address} does not answer as a Ray cluster", REMEDY) from None
    if "AuthenticationError" in answer.stderr:
        raise EnvironmentFault(f"the Ray cluster at {address} asks for its token", _TOKEN_REMEDY)
    if answer.returncode:
        said = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EnvironmentFault(f"what listens at {address} is no Ray cluster for this program: {said}", REMEDY)


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that hold while the block runs, where the user has not set them."""
    ours = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets a SIGTERM handler that exits at once; ours, which lets work be saved, is put back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _unheard(ray: Any) -> Iterator[None]:
    """Keep the daemons' complaints off stdout, where Ray prints them whatever it was told.

    Each of them is a loss that the engine acts on. The switch is Ray's own for its debugger, and not public.
    """
    printer: Any = getattr(getattr(ray, "_private", None), "worker", None)
    before = getattr(printer, "_worker_logs_enabled", None)
    if before is None:
        yield
        return
    printer._worker_logs_enabled = False
    try:
        yield
    finally:
        printer._worker_logs_enabled = before
