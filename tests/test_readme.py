"""The README's Python runs as it stands, and its table is the one that its command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
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
