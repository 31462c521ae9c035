"""The zoo: what is appended is read back bitwise, by rows, runs and steps, whatever the layout."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weightsmith.checkpoint import read_checkpoint
from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.hashed import write_sealed_json
from weightsmith.layout import Layout, Weights
from weightsmith.zoo import Row, RowInfo, Zoo, reader

PROVENANCE = {"architecture": {"name": "mlp"}, "command": "weightsmith zoo build"}


def mlp(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def trained(runs: range, steps: range, width: int = 4) -> tuple[Weights, list[RowInfo]]:
    pairs = list(itertools.product(runs, steps))
    weights = Weights.of(*(mlp(width, 100 * run + step) for run, step in pairs))
    return weights, [RowInfo(run, step, 7 * run, {"accuracy": step / 10}, {"note": [run]}) for run, step in pairs]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Zoo.create(tmp_path / "zoo", {"who": "test"})
    with Zoo.writer(tmp_path / "zoo") as writer:
        for run in range(3):
            weights, rows = trained(range(run, run + 1), range(2))
            writer.append(weights, rows, {**PROVENANCE, "part": run})
    return tmp_path / "zoo"


def assert_equal(left: Weights, right: Weights) -> None:
    assert left.layout == right.layout
    assert left.vectors.dtype == right.vectors.dtype
    assert torch.equal(left.vectors, right.vectors)
    assert left.integers.keys() == right.integers.keys()
    assert all(torch.equal(value, right.integers[name]) for name, value in left.integers.items())


def test_what_is_appended_is_read_back(path: Path) -> None:
    zoo = Zoo.open(path)
    weights, infos = trained(range(3), range(2))
    assert_equal(zoo.read(zoo.rows), weights)
    for index, (row, expected) in enumerate(zip(zoo.rows, infos, strict=True)):
        assert (row.run, row.step, row.seed) == (expected.run, expected.step, expected.seed)
        assert (row.metrics, row.extra, row.index) == (expected.metrics, expected.extra, index)
        assert zoo.provenance(row) == {**PROVENANCE, "part": row.run}
    assert zoo.about == {"who": "test"}
    assert zoo.layouts == {weights.layout.fingerprint: weights.layout}
    assert (len(zoo), zoo.runs, zoo.segments) == (6, [0, 1, 2], 3)
    report = zoo.verify()
    assert (report.segments, report.rows) == (3, 6)
    assert report.bytes == sum(file.stat().st_size for file in (path / "segments").iterdir())


def test_rows_are_read_in_the_order_asked_and_may_repeat(path: Path) -> None:
    zoo = Zoo.open(path)
    weights, _ = trained(range(3), range(2))
    order = [5, 0, 3, 3, 1]
    assert_equal(zoo.read([zoo.rows[i] for i in order]), weights[order])
    assert_equal(zoo.read([zoo.rows[i] for i in order]), weights[order])


def test_what_was_read_is_a_copy(path: Path) -> None:
    zoo = Zoo.open(path)
    zoo.read(zoo.rows).vectors.zero_()
    zoo.verify()
    assert zoo.read(zoo.rows).vectors.any()


def test_trajectory_is_in_the_order_of_steps(path: Path) -> None:
    weights, rows = trained(range(8, 9), range(5))
    order = [3, 0, 4, 2, 1]
    with Zoo.writer(path) as writer:
        writer.append(weights[order[:2]], [rows[i] for i in order[:2]], PROVENANCE)
        writer.append(weights[order[2:]], [rows[i] for i in order[2:]], PROVENANCE)
        found, steps = writer.zoo.trajectory(8)
    assert_equal(found, weights)
    assert [row.step for row in steps] == list(range(5))
    with pytest.raises(BadInput, match="no run 99"):
        Zoo.open(path).trajectory(99)


def test_layouts_may_differ_but_are_not_read_together(path: Path) -> None:
    weights, rows = trained(range(5, 6), range(2), width=6)
    with Zoo.writer(path) as writer:
        writer.append(weights, rows, PROVENANCE)
    zoo = Zoo.open(path)
    assert list(zoo.layouts) == [Layout.of(mlp(4, 0)).fingerprint, weights.layout.fingerprint]
    assert_equal(zoo.read(zoo.select(run=5)), weights)
    with pytest.raises(LayoutMismatch, match=r"'0\.weight'"):
        zoo.read(zoo.rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = Weights.of(mlp(3, 0).to(dtype), mlp(3, 1).to(dtype))
    Zoo.create(tmp_path, {})
    with Zoo.writer(tmp_path) as writer:
        writer.append(weights, [RowInfo("a", 0, 0), RowInfo("b", 0, 0)], {})
    assert_equal(Zoo.open(tmp_path).read(Zoo.open(tmp_path).rows), weights)


def test_networks_without_floats_or_of_empty_tensors(tmp_path: Path) -> None:
    layout = Layout.from_json(
        [
            {"name": "n", "shape": [2], "dtype": "bool", "role": "buffer"},
            {"name": "e", "shape": [0, 3], "dtype": "uint8", "role": "buffer"},
        ]
    )
    integers = {"n": torch.tensor([[True, False], [False, True]]), "e": torch.empty(2, 0, 3, dtype=torch.uint8)}
    weights = Weights(layout, torch.empty(2, 0), integers)
    Zoo.create(tmp_path, {})
    with Zoo.writer(tmp_path) as writer:
        rows = writer.append(weights, [RowInfo(0, 0, 0), RowInfo(1, 0, 0)], {}).rows
    assert_equal(Zoo.open(tmp_path).read(rows), weights)


def test_appending_the_same_again_changes_nothing(path: Path) -> None:
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    weights, rows = trained(range(1, 2), range(2))
    with Zoo.writer(path) as writer:
        again = writer.append(weights, rows, {**PROVENANCE, "part": 1})
        assert [row.index for row in again.rows] == [2, 3]
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_equal_zoos_have_equal_segments(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Zoo.create(tmp_path / name, {})
        with Zoo.writer(tmp_path / name) as writer:
            writer.append(*trained(range(2), range(2)), PROVENANCE)
    (a,), (b,) = (list((tmp_path / name / "segments").iterdir()) for name in ("a", "b"))
    assert a.name == b.name
    assert a.read_bytes() == b.read_bytes()
    assert Zoo.open(tmp_path / "a").id != Zoo.open(tmp_path / "b").id


def test_a_stored_network_is_never_replaced(path: Path) -> None:
    weights, rows = trained(range(1, 2), range(2))
    with Zoo.writer(path) as writer:
        with pytest.raises(BadInput, match=r"run 1, step 0 is in(.|\n)*never changes"):
            writer.append(weights.replace(weights.vectors + 1), rows, PROVENANCE)
        with pytest.raises(BadInput, match="given twice"):
            writer.append(weights, [RowInfo(50, 0, 0), RowInfo(50, 0, 1)], PROVENANCE)
    assert len(Zoo.open(path)) == 6


def test_number_and_text_are_different_runs(path: Path) -> None:
    weights, _ = trained(range(1), range(1))
    with Zoo.writer(path) as writer:
        writer.append(weights, [RowInfo("1", 0, 0)], PROVENANCE)
    zoo = Zoo.open(path)
    assert zoo.runs == [0, 1, 2, "1"]
    assert [row.step for row in zoo.select(run="1")] == [0]
    assert [row.step for row in zoo.select(run=1)] == [0, 1]


BAD_ROWS = [
    {"run": 1.0},
    {"run": True},
    {"run": 2**63},
    {"run": "\ud800"},
    {"step": -1},
    {"step": 1.5},
    {"seed": 2**63},
    {"seed": None},
    {"metrics": {"a": float("nan")}},
    {"metrics": {"a": float("inf")}},
    {"metrics": {"a": "high"}},
    {"metrics": {"": 1.0}},
    {"metrics": {"a\0": 1.0}},
    {"metrics": {"a": 2**70}},
    {"metrics": [1]},
    {"metrics": {"a": np.float32(1)}},
    {"extra": {"a": float("nan")}},
    {"extra": {"a": {1}}},
    {"extra": [1]},
]


@pytest.mark.parametrize("bad", BAD_ROWS, ids=repr)
def test_bad_row_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"row of run(.|\n)*remedy"):
        RowInfo(**({"run": 0, "step": 0, "seed": 0} | bad))  # type: ignore[arg-type]


def test_bad_arguments_are_refused(path: Path) -> None:
    weights, rows = trained(range(20, 22), range(1))
    with Zoo.writer(path) as writer:
        for given, described, provenance in (
            (weights, rows[:1], {}),
            (weights[:0], [], {}),
            (weights, rows, {"a": {1, 2}}),
            (weights, rows, [1]),
        ):
            with pytest.raises(BadInput, match="remedy"):
                writer.append(given, described, provenance)  # type: ignore[arg-type]
    zoo = Zoo.open(path)
    assert len(zoo) == 6
    with pytest.raises(BadInput, match="no rows"):
        zoo.read([])
    foreign = Row(**{**vars(zoo.rows[0]), "sha256": "0" * 64})
    with pytest.raises(BadInput, match="not a row of"):
        zoo.read([foreign])


def test_folders_that_are_no_zoo(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not a zoo(.|\n)*remedy"):
        Zoo.open(tmp_path / "missing")
    with pytest.raises(ArtifactError, match=r"not a zoo(.|\n)*remedy"):
        Zoo.open(tmp_path)
    with pytest.raises(ArtifactError), Zoo.writer(tmp_path / "missing"):
        pass
    assert list(tmp_path.iterdir()) == []
    write_sealed_json(tmp_path / "zoo.json", {"schema": "weightsmith.zoo/2", "id": "", "about": {}})
    with pytest.raises(ArtifactError, match=r"zoo/2', not 'weightsmith.zoo/1'(.|\n)*remedy"):
        Zoo.open(tmp_path)
    write_sealed_json(tmp_path / "zoo.json", {"schema": "weightsmith.zoo/1", "id": "", "about": 1})
    with pytest.raises(ArtifactError, match="exactly"):
        Zoo.open(tmp_path)
    with pytest.raises(BadInput, match="not empty"):
        Zoo.create(tmp_path, {})


def test_damage_is_found_when_a_row_is_read(path: Path) -> None:
    zoo = Zoo.open(path)
    file = path / "segments" / zoo.rows[2].segment
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # in the second row's last tensor
    file.write_bytes(data)
    zoo = Zoo.open(path)
    zoo.read([*zoo.rows[:3], *zoo.rows[4:]])
    with pytest.raises(ArtifactError, match="run 1, step 1"):
        zoo.read(zoo.rows)


def test_few_segments_stay_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_OPEN_SEGMENTS", 2)
    zoo = Zoo.open(path)
    for row in (zoo.rows[0], zoo.rows[2], zoo.rows[4], zoo.rows[1], zoo.rows[2]):
        zoo.read([row])
        assert len(zoo._reader._open) <= 2
    assert list(zoo._reader._open) == [zoo.rows[0].segment, zoo.rows[2].segment]


def test_opening_reads_no_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("a segment was opened")

    monkeypatch.setattr(reader, "SegmentFile", refuse)
    assert len(Zoo.open(path)) == 6


def test_split_deals_whole_runs(tmp_path: Path) -> None:
    Zoo.create(tmp_path, {})
    with Zoo.writer(tmp_path) as writer:
        writer.append(*trained(range(10), range(2)), PROVENANCE)
    zoo = Zoo.open(tmp_path)
    parts = zoo.split_runs({"train": 0.7, "validation": 0.1, "held_out": 0.2}, seed=3)
    assert {name: len(runs) for name, runs in parts.items()} == {"train": 7, "validation": 1, "held_out": 2}
    assert sorted(itertools.chain(*parts.values())) == zoo.runs
    assert parts == Zoo.open(tmp_path).split_runs({"train": 0.7, "validation": 0.1, "held_out": 0.2}, seed=3)
    assert parts != zoo.split_runs({"train": 0.7, "validation": 0.1, "held_out": 0.2}, seed=4)
    counts = zoo.split_runs({"train": 7, "validation": 1}, seed=3)
    assert counts == {name: parts[name] for name in counts}
    for bad in ({"a": 11}, {"a": 0.7, "b": 0.4}, {"a": 0}, {}, {"a": -1, "b": 2}, {"a": 0.99, "b": 0.001}):
        with pytest.raises(BadInput, match="remedy"):
            zoo.split_runs(bad, seed=0)


def test_export_writes_one_file_a_row(path: Path, tmp_path: Path) -> None:
    zoo = Zoo.open(path)
    for format in ("safetensors", "pt"):
        files = zoo.export(tmp_path / format, format)
        assert files[3].name == f"run-00001-step-00001.{format}"
        state = read_checkpoint(files[3])
        mlp(4, 101).load_state_dict(state)
        assert all(torch.equal(state[name], value) for name, value in mlp(4, 101).state_dict().items())
        with (tmp_path / format / "index.csv").open(newline="") as table:
            lines = list(csv.DictReader(table))
        assert [line["file"] for line in lines] == [file.name for file in files]
        assert lines[3]["metric.accuracy"] == "0.1"
        assert lines[3]["sha256"] == zoo.rows[3].sha256
    zoo.export(tmp_path / "pt", "pt")
    with pytest.raises(BadInput, match=r"other files(.|\n)*new folder"):
        zoo.export(tmp_path / "pt", "pt", zoo.rows[:2])
    with pytest.raises(BadInput, match="'onnx' is unknown"):
        zoo.export(tmp_path / "new", "onnx")
    assert not (tmp_path / "new").exists()


def test_the_log_holds_what_the_format_page_says(path: Path) -> None:
    line = json.loads((path / "records.jsonl").read_text().splitlines()[0])["record"]
    assert set(line) == {"kind", "file", "bytes", "header_sha256", "layout", "rows", "quarantined"}
    assert set(line["rows"][0]) == {"run", "step", "seed", "metrics", "extra", "sha256"}


@pytest.mark.parametrize("size", [None, 1, 2, 100])
def test_batches_are_all_rows_in_order(path: Path, size: int | None) -> None:
    with Zoo.writer(path) as writer:
        writer.append(*trained(range(70, 72), range(2), width=9), {})
    zoo = Zoo.open(path)
    batches = list(zoo.batches(size=size))
    assert [row for _, rows in batches for row in rows] == zoo.rows
    for weights, rows in batches:
        assert_equal(weights, zoo.read(rows))
        assert len(rows) <= (size or 100)
    chosen = [zoo.rows[3], zoo.rows[0]]
    assert [rows for _, rows in zoo.batches(chosen, size=1)] == [[row] for row in chosen]
    assert list(zoo.batches([])) == []


def test_memory_of_what_was_read_is_given_back(tmp_path: Path) -> None:
    """Eight times what may stay resident, read one by one: the memory of this process does not follow."""
    layout = Layout.of(nn.Linear(1000, 2000))  # 8 MB
    path = tmp_path / "zoo"
    Zoo.create(path, {})
    with Zoo.writer(path) as writer:
        for run in range(8):
            rows = [RowInfo(run, step, 0) for step in range(4)]
            writer.append(Weights.generated(layout, torch.full((4, layout.parameters), float(run))), rows, {})
    zoo, resident = Zoo.open(path), []
    for weights, _ in zoo.batches(size=1):
        assert float(weights.vectors[0, -1]) >= 0
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6)
    assert max(resident[16:]) - resident[4] < 60, "256 MB were read"
