"""The README's Python runs, in `make test-slow` as it stands, and its table is the one that its command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

CHANGE = '"zoo.epochs=3"'
LESS = '"zoo.epochs=1", "zoo.workers=1", "zoo.threads=1", "training.budgets={note: 20}", "evaluation.steps=2"'


@pytest.mark.parametrize(
    "changes", [LESS, pytest.param(CHANGE, marks=pytest.mark.slow)], ids=["with less of it", "as it stands"]
)
def test_the_python_of_the_readme_runs(tmp_path: Path, changes: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    assert code.count(CHANGE) == 1
    code = code.replace(CHANGE, changes)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3}, init dependence \S+\n", done.stdout)
    assert (tmp_path / "sample.safetensors").exists()
    assert (tmp_path / "runs" / "from-python" / "report.html").exists()


def test_the_links_of_the_readme_lead_somewhere() -> None:
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []
