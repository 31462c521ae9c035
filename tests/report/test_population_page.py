"""The page on learning populations shows what its benchmark last measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import json
from benchmarks.diffusion_table import PAGE, with_tables
rows = json.loads(open("benchmarks/results/diffusion.json").read())["rows"]
page = PAGE.read_text(encoding="utf-8")
print(json.dumps([with_tables(page, rows) == page, len(page)]))
"""


def test_the_tables_of_the_page_are_those_of_the_committed_result() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    same, length = json.loads(done.stdout)
    assert same
    assert length > 2000
