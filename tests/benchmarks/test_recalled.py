"""What an earlier result says of parts that measure no synthesizer, and of trained networks beside samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness import RESULTS
from benchmarks.universal.finetune import Reached
from benchmarks.universal.recalled import independent, part_of, random_inits, recalled
from weightsmith.errors import BadInput

RESULT = RESULTS / "universal.json"


def test_parts_without_weights_come_back_as_they_were() -> None:
    rows = json.loads(RESULT.read_text())["rows"]
    found = recalled(RESULT)
    assert set(found) == {row["part"] for row in rows if row["kind"] == "part" and not row["weights"]}
    for part, document in found.items():
        assert document["rows"] == [
            row for row in rows if row["kind"] not in ("part", "summary") and part_of(row) == part
        ]
        said = next(row for row in rows if row["kind"] == "part" and row["part"] == part)
        about = {**document["environment"], "weights": document["weights"], **document["budget"]}
        assert {"kind": "part", "part": part, **about} == said


def test_every_row_belongs_to_a_part() -> None:
    rows = json.loads(RESULT.read_text())["rows"]
    parts = {row["part"] for row in rows if row["kind"] == "part"}
    assert {part_of(row) for row in rows if row["kind"] not in ("part", "summary")} == parts


def test_trained_pairs_are_known_by_the_number_of_their_architecture(tmp_path: Path) -> None:
    row = {"kind": "overlap", "index": 3, "family": "mlp", "overlap": 0.5, "independent_overlap": 0.25}
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"rows": [{**row, "independent_accuracies": [0.5, 0.75]}, {"kind": "speed"}]}))
    wanted = {"family": "mlp", "independent_overlap": 0.25, "independent_accuracies": [0.5, 0.75]}
    assert independent(file) == {3: wanted}


def test_random_inits_are_known_by_architecture_target_and_rates(tmp_path: Path) -> None:
    asked = {"kind": "finetune", "index": 3, "family": "mlp", "target": 2, "rates": "best rate"}
    file = tmp_path / "result.json"
    row = {**asked, "accuracy": 0.75, "start_accuracy": 0.5, "random_epochs": 1.5, "epochs": 0.25, "ratio": 6.0}
    file.write_text(json.dumps({"rows": [row, {"kind": "finetune summary"}]}))
    assert random_inits(file) == {(3, "mlp", 2, "best rate"): Reached(0.75, 1.5)}


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("[1]")
    for path in (file, tmp_path / "missing.json"):
        with pytest.raises(BadInput, match="no result of this benchmark"):
            recalled(path)
