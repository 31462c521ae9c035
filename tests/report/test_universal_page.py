"""The page on universal synthesis shows what its benchmark last measured, and every table has its rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.universal_table import BEGIN, END, PAGE, tables, with_tables

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "universal.json"
DOCUMENT = {
    "headline": {"unseen_size_median": 0.98765, "training_peak_rss_mb": 1234.5},
    "rows": [
        {"kind": "summary", "method": "converged", "split": "beyond", "family": None, "networks": 3}
        | {"median": 0.99, "p05": 0.98, "min": 0.97},
        {"kind": "summary", "method": "synthesis", "split": "beyond", "family": "vit", "networks": 7}
        | {"median": 0.5, "p05": 0.25, "min": 0.125, "as_generated_median": 0.75},
        {"kind": "summary", "method": "no-clip", "split": "unseen_size", "family": None, "networks": 7}
        | {"median": 0.75, "p05": 0.125, "min": 0.0625},
        *(
            {
                "kind": "accuracy",
                "method": "synthesis",
                "split": "unseen_combination",
                "family": "vit",
                "accuracy": right,
            }
            | {"options": {"patch": patch, "activation": "silu", "pool": "average"}}
            for patch, right in ((7, 0.5), (7, 0.75), (4, 0.25))
        ),
        {"kind": "other generator", "generator": "no-clip", "minutes": 7.5, "updates": 1234},
        {"kind": "overlap", "overlap": 0.25, "independent_overlap": 0.5, "accuracies": [0.1, 0.3]}
        | {"independent_accuracies": [0.5, 0.7], "cosine": 0.01},
        {"kind": "speed", "network": "mlp", "parameters": 1000, "threads": 2, "median": 0.5, "all": [0.4, 0.6]},
        {"kind": "start", "accuracy": 0.5, "worst_accuracy": 0.25, "init_dependence": 0.9, "function_dependence": None}
        | {
            f"{name}{end}": 0.5
            for name in ("start_affinity", "unaligned_start_affinity")
            for end in ("", "_low", "_high")
        },
    ],
}


@pytest.mark.skipif(not RESULT.exists(), reason="it has not been measured yet")
def test_the_tables_of_the_page_are_those_of_the_committed_result() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert with_tables(page, json.loads(RESULT.read_text(encoding="utf-8"))) == page


def test_tables_show_fractions_as_percentages_and_what_is_to_be_reached() -> None:
    lines = tables(DOCUMENT).splitlines()
    assert "| `unseen_size_median` | >= 0.975 | 0.9877 |" in lines
    assert "| `training_peak_rss_mb` | <= 8000 | 1,234.5 |" in lines
    assert "| converged | 3 | 99.00 | 98.00 | 97.00 | - |" in lines
    assert "| beyond the range | vit | synthesis | 7 | 50.00 | 25.00 | 12.50 | 75.00 |" in lines
    assert "| vit | patch 7, activation silu | 2 | 62.50 | 50.00 |" in lines
    assert "| no-clip | 7.5 | 1,234 | - | 75.00, 12.50 | - | - |" in lines
    assert not any(line.startswith("| no-clip | 7 |") for line in lines), "it stands in a table of its own"
    assert "| 1 | 0.25 | 0.5 | 20.00 | 60.00 | 0.01 |" in lines
    assert "| mlp, 1,000 parameters | 2 | 0.500 | 0.400 to 0.600 |" in lines
    assert "| function dependence | - |" in lines


def test_a_page_keeps_what_stands_around_its_tables() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    found = with_tables(page, DOCUMENT)
    assert found.startswith("before\n")
    assert found.endswith("after\n")
    assert "old" not in found
    assert with_tables(found, DOCUMENT) == found
    assert BEGIN in (ROOT / PAGE).read_text(encoding="utf-8")
