"""What all tests share: documented shapes are checked, one tiny run is made, and the program is run as a user would."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest
from jaxtyping import install_import_hook

hypothesis.settings.register_profile("any machine", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("any machine")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and of those that it starts: tests are small
# Before anything imports them. Settings and the command line are left out: pydantic and typer read annotations, too.
install_import_hook(
    [
        f"weightsmith.{module}"
        for module in (
            "codecs",
            "datasets",
            "denoisers",
            "diffusion",
            "ensemble",
            "evaluation",
            "generators",
            "graph",
            "hypernetworks",
            "layout",
            "objectives",
            "symmetry",
            "tokens",
        )
    ],
    "beartype.beartype",
)

from weightsmith.cli import main  # noqa: E402  after the hook

if TYPE_CHECKING:
    from weightsmith.settings.recipe import Recipe


def pytest_collection_finish() -> None:
    """What was imported stays as long as the tests, and need not be looked through whenever garbage is collected."""
    gc.collect()
    gc.freeze()


Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = """\
name: tiny
description: A run of seconds on the embedded digits.
device: cpu
dataset: {name: digits, image_size: 8}
architecture: {name: mlp, options: {hidden: [8]}}
zoo: {runs: 3, epochs: 2, precision: fp32, method: loop, group_size: 1, workers: 1, threads: 1}
generator: {options: {time_embedding: 8, hidden: 16, layers: 1}}
training: {budgets: {untrained: 0, converged: 60}, headline: converged}
evaluation: {inits: 5, steps: 2, precision: fp32}
"""


@pytest.fixture
def program(tmp_path: Path) -> Run:
    """`weightsmith ARGUMENTS` in a forked child, which need not import again what takes seconds."""
    for module in ("matplotlib.figure", "sklearn.datasets", "weightsmith.pipeline"):
        importlib.import_module(module)

    def run(*arguments: object, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return forked(main, ["weightsmith", *map(str, arguments)], cwd, environment)

    return run


def forked(
    work: Callable[[], object], command: list[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What `work` comes to as the program of a forked child that was called by `command`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            _become_program(work, command, cwd, environment, out.fileno(), err.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [file.seek(0) or file.read() for file in (out, err)]
    return subprocess.CompletedProcess(command, status, *texts)


def default_signals() -> None:
    """As a program that was just started has them, and not as libraries have left them in the process of the tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _become_program(
    work: Callable[[], object], command: list[str], cwd: Path, environment: Mapping[str, str], out: int, err: int
) -> NoReturn:
    status: object = 1
    try:
        default_signals()
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", closefd=False) for descriptor in (1, 2))
        os.environ.update(environment)
        os.chdir(cwd)
        sys.argv = command
        work()
        status = 0
    except SystemExit as exit:
        status = exit.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


@pytest.fixture
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes start from one that has imported what takes seconds; those of other tests start from nothing."""
    multiprocessing.set_forkserver_preload(["weightsmith.pipeline"])
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: context)


@pytest.fixture(scope="session")
def tiny_recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_recipe(tiny_recipe_file: Path) -> Recipe:
    from weightsmith.settings.loading import load_recipe

    return load_recipe(str(tiny_recipe_file))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe) -> Path:
    """The folder of a whole run, made once; tests read it and do not change it."""
    from weightsmith.pipeline import run_pipeline

    return run_pipeline(tiny_recipe, tmp_path_factory.mktemp("runs") / "tiny").path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        refused = subprocess.run(mount, capture_output=True).returncode
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip("a 1 MB tmpfs cannot be mounted here")
    yield folder
    gc.collect()  # a zoo holds its files mapped
    subprocess.run(["umount", str(folder)], check=True)
