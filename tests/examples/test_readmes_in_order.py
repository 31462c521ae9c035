"""Every example, copied clean, by the commands of its README in their order, on the digits and as it is shipped."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # the sizes are those that users get

EXAMPLES = Path(__file__).parents[2] / "examples"
ON_DIGITS = ["--dataset", "digits", "--device", "cpu"]
MADE = {  # what a command makes, where the README does not name all of it
    "train_target_model.py": [f"checkpoints_weights_cnn/weights_epoch_{epoch}.pth" for epoch in range(6)],
}


def commands(readme: str) -> list[list[str]]:
    """The commands of the README on the digits: the block that is written for them, else the first, made so."""
    blocks = [block.splitlines() for block in re.findall(r"(?:^ {4}python .*\n)+", readme, re.MULTILINE)]
    block = next((lines for lines in blocks if all("--dataset digits" in line for line in lines)), blocks[0])
    return [shlex.split(line.partition("#")[0]) for line in block]


def promised(readme: str, script: str) -> list[str]:
    """The files and folders that stand behind a command."""
    comment = re.search(rf"^ {{4}}python \S*{re.escape(script)} *# (.*)$", readme, re.MULTILINE)
    assert comment, f"the README says of {script} what it makes"
    return MADE.get(script) or re.findall(r"[\w/.]+(?:\.[a-z]+|/)(?=,|$| )", comment.group(1))


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if (path / "README.md").is_file()))
def test_a_clean_copy_runs_by_its_readme(name: str, tmp_path: Path) -> None:
    source, before = EXAMPLES / name, tree(EXAMPLES)
    clean = shutil.ignore_patterns("outputs", "data", "__pycache__", "checkpoints_*", "*.pth", "*.png")
    folder = Path(shutil.copytree(source, tmp_path / "a copy", ignore=clean))
    readme = (folder / "README.md").read_text()
    steps = commands(readme)
    assert len(steps) == 4
    assert steps[0][0] == "python"
    environment = {**os.environ, "WEIGHTSMITH_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for _, script, *options in steps:
        command = [sys.executable, script, *options, *(ON_DIGITS if "--dataset" not in options else [])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert done.stdout.strip()
        for made in promised(readme, Path(script).name):
            found = folder / made
            assert found.exists(), f"{script} makes {made}"
            assert found.is_file() or any(found.iterdir()), f"{script} fills {made}"
    assert tree(EXAMPLES) == before, "nothing is written beside the original"
