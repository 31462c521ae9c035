"""Rows 4 and 6: signals and kills while a universal synthesizer is trained."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from interrupted_runs import start_program
from small_universal_runs import PLAIN, TEXT, outcome, recipe

from weightsmith.pipeline import run_pipeline
from weightsmith.training import trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(run_pipeline(recipe(PLAIN), tmp_path_factory.mktemp("whole") / "run", until="train").path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_training_goes_on_bitwise_after_a_signal(
    whole: Any, tmp_path: Path, program: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A killed process goes on from what it last saved."""
    (tmp_path / "mine.yaml").write_text(TEXT)
    if number == signal.SIGKILL:
        monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.0)
    run, arguments = tmp_path / "my run", ["train", tmp_path / "mine.yaml", PLAIN, "--out", tmp_path / "my run"]
    status, said = signalled(*start_program(*arguments, hold="epoch 1:"), number)
    assert status == (-number if number == signal.SIGKILL else 128 + number), said
    assert (run / "unfinished.safetensors").is_file()
    assert not (run / "synthesizer").exists()
    if number != signal.SIGKILL:
        assert "state saved" in said
        assert shlex.split(said.partition("resume with: ")[2]) == ["weightsmith", *map(str, arguments)]
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert number == signal.SIGKILL or "resumed after epoch" in done.stderr
    assert outcome(run) == whole
    assert not (run / "unfinished.safetensors").exists()


def signalled(child: int, pipe: int, number: int) -> tuple[int, str]:
    """Send a signal after the first epoch; the exit status of the process, and what it said."""
    with os.fdopen(pipe) as stderr:
        said = ""
        for text in stderr:
            said += text
            if "epoch 1:" in text:
                os.kill(child, number)
                break
        said += stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said
