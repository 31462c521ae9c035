"""The MNIST weight diffusion example: its scripts in order, what they write, and the mistakes people make."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
import torch

from weightsmith import Architecture
from weightsmith.errors import LayoutMismatch

pytestmark = pytest.mark.slow  # the four scripts train a classifier and a diffusion model

EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist_weight_diffusion"
CONFIG = "configs/mnist_config.yaml"
WEIGHTS = 4 * 9 + 8 * 4 * 9 + 16 * 8 * 7 * 7 + 10 * 16
BIASES = 4 + 8 + 16 + 10
SAMPLES = 3
SCRIPTS = ("train_mnist", "extract_weights", "train_diffusion", "generate_and_evaluate")
OPTIONS = ("--dataset", "digits", "--device", "cpu")


def in_process(folder: Path, script: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a script run as its own main module, without the cost of a new process."""
    streams = [io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2)]
    path, modules, status = list(sys.path), set(sys.modules), 0
    sys.path.insert(0, str(folder / "scripts"))
    try:
        with (
            redirect_stdout(streams[0]),
            redirect_stderr(streams[1]),
            mock.patch.dict(os.environ, {"WEIGHTSMITH_OFFLINE": "1"}),
            mock.patch.object(sys, "argv", [script, *OPTIONS]),
        ):
            runpy.run_path(str(folder / "scripts" / script), run_name="__main__")
    except SystemExit as exit:
        status = int(exit.code or 0)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] in ("config", "evaluation", "experiment", "models"):  # another copy has its own
                del sys.modules[name]
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return status, out, err


def subprocess_from(cwd: Path, folder: Path, script: str) -> tuple[int, str, str]:
    environment = {**os.environ, "WEIGHTSMITH_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(folder / "scripts" / script), *OPTIONS]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def completed(folder: Path, script: str, cwd: Path | None = None) -> str:
    status, out, err = in_process(folder, script) if cwd is None else subprocess_from(cwd, folder, script)
    assert status == 0, err
    return out


def refused(folder: Path, script: str) -> str:
    status, _, err = in_process(folder, script)
    assert status == 2, err
    assert err.startswith("error: ")
    assert "remedy:" in err
    return err


def edit(folder: Path, key: str, value: str) -> None:
    """Write another value on the first line of this key, and leave all else as it is."""
    path = folder / CONFIG
    text, count = re.subn(rf"(?m)^(\s*{key}:) *[^#\n]*?( *#.*)?$", rf"\1 {value}\2", path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def small_copy(folder: Path) -> Path:
    """The example's files without outputs, with small sizes."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("outputs", "data", "__pycache__"))
    for key, value in {"channels1": "4", "channels2": "8", "hidden": "16", "epochs": "8", "batch_size": "32"}.items():
        edit(folder, key, value)
    edit(folder, "timesteps", "100")
    edit(folder, "samples", str(SAMPLES))
    return folder


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder, symlinks=True))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all four scripts were run; what they printed lies beside them."""
    folder = small_copy(tmp_path_factory.mktemp("weight diffusion") / "example")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for script, cwd in zip(SCRIPTS, (folder, elsewhere, None, None), strict=True):  # as users start them, and quicker
        before = (folder / CONFIG).read_text()
        said = completed(folder, f"{script}.py", cwd)
        (folder / f"{script}.txt").write_text(said)
        (folder / f"{script}.yaml").write_text(before)
    assert not list(elsewhere.iterdir())
    return folder


def test_extraction_takes_weights_only_in_order(run: Path) -> None:
    state = tensors(run / "outputs/mnist_models/mnist_classifier.pth")
    assert sum(value.numel() for value in state.values()) == WEIGHTS + BIASES
    flat = torch.cat([value.flatten() for name, value in state.items() if name.endswith("weight")])
    assert torch.equal(tensors(run / "outputs/extracted_weights.pth")["weights"], flat)
    assert f"Left out: {BIASES} biases" in (run / "extract_weights.txt").read_text()


def test_extraction_changes_one_line_of_the_settings(run: Path) -> None:
    before = (run / "extract_weights.yaml").read_text().splitlines()
    after = (run / CONFIG).read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    (pair,) = changed
    assert re.fullmatch(rf"  latent_dim: {WEIGHTS} +# .*extract_weights.py writes this line", pair[1])


def test_shipped_settings_hold_the_size_of_the_shipped_classifier() -> None:
    network = Architecture("target_cnn", (1, 28, 28), 10, {"channels1": 16, "channels2": 32, "hidden": 64}).build(0)
    weights = sum(value.numel() for name, value in network.named_parameters() if name.endswith("weight"))
    assert f"latent_dim: {weights} " in (EXAMPLE / CONFIG).read_text()


def test_samples_are_whole_networks_with_the_original_biases(run: Path) -> None:
    original = tensors(run / "outputs/mnist_models/mnist_classifier.pth")
    paths = sorted((run / "outputs/generated_weights").iterdir())
    assert [path.name for path in paths] == [f"generated_weights_sample_{n}.pth" for n in range(1, SAMPLES + 1)]
    states = [tensors(path) for path in paths]
    for name, value in original.items():
        assert all(state[name].shape == value.shape for state in states)
        assert all(torch.equal(state[name], value) == name.endswith("bias") for state in states)
    assert not torch.equal(states[0]["fc1.weight"], states[1]["fc1.weight"])


def test_samples_replay_the_original(run: Path) -> None:
    found = json.loads((run / "outputs/evaluation_results/evaluation.json").read_text())
    assert found["original"]["accuracy"] > 0.85
    assert len(found["samples"]) == SAMPLES
    for sample in found["samples"]:
        assert sample["accuracy"] == pytest.approx(found["original"]["accuracy"], abs=0.03)
        assert sample["cosine"] > 0.9
        assert sample["weight_deviation"] == pytest.approx(found["original"]["weight_deviation"], rel=0.2)
    said = (run / "generate_and_evaluate.txt").read_text()
    assert f"Sample {SAMPLES}: accuracy = {found['samples'][-1]['accuracy']:.2%}" in said
    assert "this is replay" in said


def test_evaluation_is_drawn(run: Path) -> None:
    for name in ("evaluation.png", "weight_distribution.png"):
        assert (run / "outputs/evaluation_results" / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_saved_model_predicts_the_noise(run: Path) -> None:
    source = EXAMPLE / "models/weight_diffusion_model.py"
    spec = importlib.util.spec_from_file_location("weight_diffusion_model", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.SimpleWeightDiffusion.from_state(tensors(run / "outputs/diffusion_models/weight_diffusion.pth"))
    x0 = model.standardised(tensors(run / "outputs/extracted_weights.pth")["weights"])
    assert float(x0.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert float(x0.mean()) == pytest.approx(0.0, abs=1e-5)
    t = torch.tensor([0.3, 0.6, 1.0])
    noise = torch.randn(3, WEIGHTS, generator=torch.Generator().manual_seed(0))
    state = model.path.sample(x0.expand(3, -1), noise, t).state
    with torch.no_grad():
        errors = (model(state, t) - noise).square().mean(dim=1)
    assert float(errors.max()) < 0.05  # 1 is what predicting nothing reaches
    with pytest.raises(LayoutMismatch, match="not a SimpleWeightDiffusion"):
        module.SimpleWeightDiffusion.from_state({"betas": model.betas})


def test_the_perceptron_is_one_setting_away(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "example")
    edit(folder, "model", "mlp")
    edit(folder, "epochs", "1")
    assert "Classifier: mlp" in completed(folder, "train_mnist.py")
    completed(folder, "extract_weights.py")
    assert f"latent_dim: {784 * 128 + 128 * 64 + 64 * 10} " in (folder / CONFIG).read_text()


def test_each_script_names_the_one_to_run_before_it(tmp_path: Path, run: Path) -> None:
    folder = small_copy(tmp_path / "example")
    assert "remedy: run python scripts/train_mnist.py first" in refused(folder, "extract_weights.py")
    shutil.copytree(run / "outputs/mnist_models", folder / "outputs/mnist_models")
    assert "remedy: run python scripts/extract_weights.py first" in refused(folder, "train_diffusion.py")
    shutil.copy(run / "outputs/extracted_weights.pth", folder / "outputs")
    said = refused(folder, "train_diffusion.py")
    assert f"latent_dim is 105744 in {folder / CONFIG}, and " in said
    assert "remedy: run python scripts/extract_weights.py again: it writes that line" in said
    edit(folder, "latent_dim", str(WEIGHTS))
    assert "remedy: run python scripts/train_diffusion.py first" in refused(folder, "generate_and_evaluate.py")


def test_files_of_another_classifier_are_refused(tmp_path: Path, run: Path) -> None:
    folder = copy_of(run, tmp_path / "example")
    path = folder / "outputs/mnist_models/mnist_classifier.pth"
    state = tensors(path)
    torch.save({**state, "fc2.weight": state["fc2.weight"] + 1}, path)
    said = refused(folder, "generate_and_evaluate.py")
    assert "extracted_weights.pth is not of" in said
    completed(folder, "extract_weights.py")
    said = refused(folder, "generate_and_evaluate.py")
    assert "weight_diffusion.pth was trained on other weights than" in said
    edit(folder, "channels2", "9")
    said = refused(folder, "extract_weights.py")
    assert "mnist_classifier.pth: tensor 'conv2.weight' is float32[8, 4, 3, 3], not float32[9, 4, 3, 3]" in said
    assert "remedy: run python scripts/train_mnist.py again" in said


def test_a_damaged_model_is_refused(tmp_path: Path, run: Path) -> None:
    folder = copy_of(run, tmp_path / "example")
    path = folder / "outputs/diffusion_models/weight_diffusion.pth"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    said = refused(folder, "generate_and_evaluate.py")
    assert "checksum" in said
    assert "remedy: run python scripts/train_diffusion.py again" in said


def test_every_mistake_in_the_settings_is_named_with_its_line(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "example")
    edit(folder, "noise_schedule", "cosin")
    edit(folder, "samples", "0")
    path = folder / CONFIG
    path.write_text(path.read_text().replace("timesteps:", "timestep:"))
    lines = path.read_text().splitlines()

    def line(key: str) -> int:
        return next(number for number, text in enumerate(lines, 1) if text.strip().startswith(f"{key}:"))

    said = refused(folder, "train_mnist.py")
    assert str(path) in said
    assert f"weight_diffusion.noise_schedule (line {line('noise_schedule')}): found cosin" in said
    assert f"weight_diffusion.timestep (line {line('timestep')}): unknown key; the nearest is 'timesteps'" in said
    assert "weight_diffusion.timesteps" in said
    assert f"generation.samples (line {line('samples')}): found 0, expected at least 1" in said
    assert not (folder / "outputs").exists()
