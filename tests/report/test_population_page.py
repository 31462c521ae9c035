"""The page on learning populations shows what its benchmark last measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.diffusion_table import PAGE, with_tables

ROOT = Path(__file__).parents[2]


def test_the_tables_of_the_page_are_those_of_the_committed_result() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "diffusion.json").read_text(encoding="utf-8"))["rows"]
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert with_tables(page, rows) == page
    assert len(page) > 2000
