"""The Project Synthesis example: its scripts in order, the note's lines and artifacts, and the mistakes people make."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import forked

Start = Callable[..., subprocess.CompletedProcess[str]]

SCRIPTS = Path(__file__).parents[2] / "examples" / "project_synthesis"
TARGET = ("--channels", "4", "8", "--fc", "16")
FLAT_DIM = (4 * 9 + 4) + (8 * 4 * 9 + 8) + (16 * 8 * 7 * 7 + 16) + (10 * 16 + 10)
HIDDEN = 24
EPOCHS = 5
STEPS = 6
FIGURES = r"Accuracy = \d{1,3}\.\d\d%, Avg Loss = \d+\.\d{4}"
NOTE_LINES = (
    r"Starting evaluation of diffusion-generated checkpoints\.\.\.",
    r"Using device: cpu",
    rf"Target CNN: flat dimension = {FLAT_DIM}",
    r"Diffusion model loaded from diffusion_optimizer\.pth",
    r"Will generate a checkpoints of 6 steps\.",
    r"Generating checkpoints with diffusion model for 6 steps\.\.\.",
    r"Generated step 6/6",
    r"Evaluating performance along the generated checkpoints\.\.\.",
    rf"Step 0 \(Initial Random Weights\): {FIGURES}",
    *(rf"Generated Step {step}/6: {FIGURES}" for step in range(1, STEPS + 1)),
    r"Evaluating performance along the original CNN training checkpoints\.\.\.",
    *(rf"Original CNN Epoch {epoch}: {FIGURES}" for epoch in range(EPOCHS + 1)),
    r"Warning: Original weight file checkpoints_weights_cnn/weights_epoch_6\.pth not found\. Skipping\.",
    r"Plotting results\.\.\.",
    r"Plot saved to (diffusion_evaluation_plot|diffusion_comparison_plot)\.png",
    r"Evaluation finished\.",
)


ENVIRONMENT = {"WEIGHTSMITH_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def command(script: str, *arguments: str) -> list[str]:
    return [str(SCRIPTS / script), "--dataset", "digits", "--device", "cpu", *arguments]


def start(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script as its own main module in a forked child, which need not import again what takes seconds."""
    for module in ("matplotlib.figure", "sklearn.datasets", "weightsmith.pipeline"):
        importlib.import_module(module)

    def work() -> None:
        sys.path.insert(0, str(SCRIPTS))
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")

    return forked(work, command(script, *arguments), folder, ENVIRONMENT)


def start_as_users_do(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    full = [sys.executable, *command(script, *arguments)]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.run(full, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def completed(script: str, folder: Path, *arguments: str, start: Start = start) -> str:
    done = start(script, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where steps 1 and 2 were run."""
    folder = tmp_path_factory.mktemp("project synthesis")
    completed("train_target_model.py", folder, *TARGET, start=start_as_users_do)
    said = completed("train_diffusion.py", folder, "--hidden", str(HIDDEN))
    assert re.search(r"diffusion_optimizer\.pth will be [\d,]+ MB", said)
    return folder


@pytest.fixture(scope="module")
def generalization(folder: Path) -> list[str]:
    return completed("evaluate_generalization.py", folder).splitlines()


@pytest.fixture(scope="module")
def side_by_side(folder: Path) -> list[str]:
    return completed("evaluate_diffusion.py", folder).splitlines()


def require_note_lines(lines: list[str]) -> None:
    for line, expected in zip(lines, NOTE_LINES, strict=False):
        assert re.fullmatch(expected, line)
    assert len(lines) >= len(NOTE_LINES)


def require_honest_lines(lines: list[str]) -> None:
    baseline, dependence = lines[-2:]
    assert re.fullmatch(rf"Baseline without a model, the mean of the trained checkpoints: {FIGURES}", baseline)
    assert re.search(r"differ by \d\.\d{4} .* in 6 steps differs by \d\.\d\de-\d\d", dependence)


def figures(lines: list[str], label: str) -> str:
    return next(line.partition(": ")[2] for line in lines if line.startswith(label))


def test_generalization_prints_the_lines_of_the_note(generalization: list[str]) -> None:
    require_note_lines(generalization)
    require_honest_lines(generalization[len(NOTE_LINES) :])


def test_generalization_starts_from_an_init_that_was_not_trained(generalization: list[str]) -> None:
    assert figures(generalization, "Step 0") != figures(generalization, "Original CNN Epoch 0")


def test_side_by_side_starts_from_the_original_init_and_prints_the_table(side_by_side: list[str]) -> None:
    require_note_lines(side_by_side)
    require_honest_lines(side_by_side)
    assert figures(side_by_side, "Step 0") == figures(side_by_side, "Original CNN Epoch 0")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in side_by_side if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["0 (Initial)", *map(str, range(1, STEPS + 1))]
    for step, (_, diffusion, original) in enumerate(rows[2:]):
        label = f"Generated Step {step}/" if step else "Step 0"
        assert f"Accuracy = {diffusion}," in figures(side_by_side, label)
        assert original == "-" or f"Accuracy = {original}," in figures(side_by_side, f"Original CNN Epoch {step}")


def test_artifacts_are_those_of_the_note(folder: Path, generalization: list[str], side_by_side: list[str]) -> None:
    captured = sorted((folder / "checkpoints_weights_cnn").iterdir())
    assert [path.name for path in captured] == [f"weights_epoch_{epoch}.pth" for epoch in range(EPOCHS + 1)]
    states = [torch.load(path, weights_only=True) for path in captured]
    assert all(sum(value.numel() for value in state.values()) == FLAT_DIM for state in states)
    assert all(not torch.equal(a["fc1.weight"], b["fc1.weight"]) for a, b in pairwise(states))
    model = torch.load(folder / "diffusion_optimizer.pth", weights_only=True)
    assert model["body.0.weight"].shape == (HIDDEN, FLAT_DIM + 128)
    for plot in ("diffusion_evaluation_plot.png", "diffusion_comparison_plot.png"):
        assert (folder / plot).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_step_2_before_step_1_says_what_to_run(tmp_path: Path) -> None:
    done = start("train_diffusion.py", tmp_path)
    assert done.returncode == 2
    assert "checkpoints_weights_cnn/weights_epoch_0.pth does not exist" in done.stderr
    assert "remedy: run train_target_model.py first" in done.stderr
    assert not list(tmp_path.iterdir())


def test_step_3_before_step_2_and_a_damaged_model_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints_weights_cnn").symlink_to(folder / "checkpoints_weights_cnn")
    missing = start("evaluate_generalization.py", tmp_path)
    assert missing.returncode == 2
    assert "diffusion_optimizer.pth does not exist" in missing.stderr
    assert "remedy: run train_diffusion.py first" in missing.stderr

    data = bytearray((folder / "diffusion_optimizer.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "diffusion_optimizer.pth").write_bytes(data)
    damaged = start("evaluate_generalization.py", tmp_path)
    assert damaged.returncode == 2
    assert "checksum" in damaged.stderr
    assert "remedy:" in damaged.stderr
