"""Summaries of zoos and runs, and zoos as Parquet tables."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_folders import make_runs, state
from torch import nn

from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.layout import Layout, Weights
from weightsmith.zoo import Row, RowInfo, Zoo, import_zoo, open_source, parquet, summarise, summarise_run
from weightsmith.zoo.run_summary import find_run, run_lines
from weightsmith.zoo.summary import summary_lines

A = {"architecture": {"name": "mlp", "options": {"hidden": [4]}}, "dataset": {"name": "digits"}}
B = {"architecture": {"name": "mlp", "options": {"hidden": [4]}}, "dataset": {"name": "mnist"}}


def networks(count: int, width: int = 3) -> Weights:
    layout = Layout.of(nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 2)))
    return layout.flatten([state(seed, width) for seed in range(count)])


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """Five runs: three of A, one of which diverged, one of B, one of which nothing is stated; one is quarantined."""
    Zoo.create(tmp_path / "zoo", {})
    extra = {"learning_rate": 0.1, "optimizer": "adam"}
    with Zoo.writer(tmp_path / "zoo") as writer:
        rows = [RowInfo(run, step, run, {"accuracy": (run + step) / 10, "loss": 1.0}, extra)
                for run in range(3) for step in range(2)]  # fmt: skip
        rows[5] = RowInfo(2, 1, 2, {"accuracy": None}, {"diverged": "run 2: loss is nan"})
        writer.append(networks(6), rows, A)
        bad = networks(2)
        bad.vectors[1, 0] = float("nan")
        writer.append(bad, [RowInfo("b", 7, 0, {"accuracy": 0.75}), RowInfo("bad", 0, 0)], B)
        writer.append(networks(1, width=4), [RowInfo('"3"', 0, 0, {}, {"dataset": "cifar", "note": [1]})], {})
    return Zoo.open(tmp_path / "zoo")


def test_a_summary_says_what_is_there(zoo: Zoo) -> None:
    summary = summarise(zoo)
    assert (summary.networks, summary.runs, summary.steps, summary.segments) == (8, 5, (0, 7), 3)
    assert summary.bytes == sum(path.stat().st_size for path in (zoo.path / "segments").iterdir()) == zoo.bytes
    assert [(layout.parameters, layout.tensors, layout.networks) for layout in summary.layouts] == [
        (29, 9, 7),
        (38, 9, 1),
    ]
    assert summary.accuracy == "accuracy"
    assert [tuple(vars(group).values()) for group in summary.groups] == [
        ("mlp(hidden=[4])", "digits", 3, 6, 2, 0.1, pytest.approx(0.15), 0.2),
        ("mlp(hidden=[4])", "mnist", 1, 1, 1, 0.75, 0.75, 0.75),
        (None, "cifar", 1, 1, 0, None, None, None),
    ]
    assert summary.diverged == {2: "run 2: loss is nan"}
    assert [(entry.run, entry.step) for entry in summary.quarantined] == [("bad", 0)]
    text = "\n".join(summary_lines(summary))
    for part in (
        "8 networks of 5 runs, step 0 to 7",
        "mlp(hidden=[4])  digits       3         6              0.1000  0.1500  0.2000",
        "not stated       cifar        1         1                   -       -       -",
        "diverged: run 2: run 2: loss is nan",
        "quarantined: run 'bad', step 0: tensor '0.weight' holds 1 NaN",
    ):
        assert part in text


def test_a_summary_of_chosen_networks(zoo: Zoo) -> None:
    summary = summarise(zoo, zoo.select(where="accuracy >= 0.1 and dataset is null"))
    assert (summary.networks, summary.runs, len(summary.layouts), summary.quarantined) == (5, 4, 1, [])
    empty = summarise(zoo, [])
    assert (empty.networks, empty.steps, empty.groups, empty.accuracy) == (0, None, [], None)
    assert summary_lines(empty)[0].startswith("0 networks of 0 runs; ")


def test_long_lists_are_cut(tmp_path: Path) -> None:
    Zoo.create(tmp_path / "zoo", {})
    bad = networks(30).replace(torch.full((30, 29), float("inf")))
    with Zoo.writer(tmp_path / "zoo") as writer:
        writer.append(bad, [RowInfo(run, 0, 0) for run in range(30)], {})
    assert summary_lines(summarise(Zoo.open(tmp_path / "zoo")))[-1] == "... and 10 more"


def test_a_run_in_detail(zoo: Zoo) -> None:
    summary = summarise_run(zoo, 1)
    assert (summary.run, summary.seed, [row.step for row in summary.rows]) == (1, 1, [0, 1])
    assert summary.settings == A
    assert summary.extra == {"learning_rate": 0.1, "optimizer": "adam"}
    lines = run_lines(summary)
    assert lines[0] == "run 1, seed 1, 2 networks"
    assert "  architecture.options.hidden: [4]" in lines
    assert "  optimizer: adam" in lines
    assert lines[-1].startswith("step 1  accuracy 0.2  loss 1  layout ")
    assert lines[-1].endswith(f"sha256 {zoo.rows[3].sha256}")
    assert [row.step for row in summarise_run(zoo, 1, zoo.select(where="step = 1")).rows] == [1]
    with pytest.raises(BadInput, match="no network of run 1 was chosen"):
        summarise_run(zoo, 1, zoo.select(where="step = 7"))


@pytest.mark.parametrize(("text", "run"), [("1", 1), ("b", "b"), ('"3"', '"3"'), ('"\\"3\\""', '"3"')])
def test_runs_are_found_by_their_text(zoo: Zoo, text: str, run: int | str) -> None:
    assert find_run(zoo, text) == run


def test_a_run_that_is_not_there(zoo: Zoo) -> None:
    with pytest.raises(BadInput, match=r"no run 'c'(.|\n)*such as"):
        find_run(zoo, "c")


def table(path: Path) -> Any:
    return pytest.importorskip("pyarrow.parquet").read_table(path)


def same(found: Any, zoo: Zoo, rows: list[Row]) -> bool:
    weights = zoo.read(rows)
    return torch.equal(torch.tensor(found["weights"].to_pylist(), dtype=weights.vectors.dtype), weights.vectors)


def test_a_zoo_as_parquet(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 250)
    rows = zoo.select(run=range(3))
    (path,) = zoo.export(tmp_path / "out", "parquet", rows)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["networks.parquet"]
    found = table(path)
    assert found.column_names == [
        *("run", "step", "seed", "layout", "sha256", "accuracy", "loss", "learning_rate", "optimizer", "diverged"),
        *("weights", "integer.1.num_batches_tracked"),
    ]
    assert same(found, zoo, rows)
    assert found["run"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert found["accuracy"].to_pylist() == [0.0, 0.1, 0.1, 0.2, 0.2, None]
    assert found["optimizer"].to_pylist() == ["adam"] * 5 + [None]
    assert str(found.schema.field("weights").type) == "fixed_size_list<element: float>[29]"
    layout = Layout.from_json(json.loads(found.schema.metadata[b"weightsmith.layout"]))
    assert zoo.layouts[rows[0].layout] == layout
    file = pytest.importorskip("pyarrow.parquet").ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 2]


def test_several_layouts_are_several_tables(zoo: Zoo, tmp_path: Path) -> None:
    paths = zoo.export(tmp_path / "out", "parquet")
    assert len(paths) == 2
    for path in paths:
        found = table(path)
        rows = [row for row in zoo.rows if row.layout == found["layout"][0].as_py()]
        assert path.name == f"networks-{rows[0].layout[:16]}.parquet"
        assert found["run"].to_pylist() == [str(row.run) if row.run != '"3"' else '"\\"3\\""' for row in rows]
        assert same(found, zoo, rows)
    with pytest.raises(BadInput, match=r"2 layouts(.|\n)*--where"):
        zoo.export(tmp_path / "one.parquet", "parquet")
    assert zoo.export(tmp_path / "one.parquet", "parquet", zoo.rows[:3]) == [tmp_path / "one.parquet"]
    assert len(table(tmp_path / "one.parquet")) == 3


def test_other_dtypes_and_kinds_of_values(tmp_path: Path) -> None:
    weights = Weights.of(nn.Linear(2, 1).double(), nn.Linear(2, 1).double())
    Zoo.create(tmp_path / "zoo", {})
    with Zoo.writer(tmp_path / "zoo") as writer:
        writer.append(weights, [
            RowInfo(1, 0, 0, {"a": 1, "weights": 2.0}, {"mixed": 1, "t": True, "f": 1.5}),
            RowInfo("x", 0, 0, {"a": 2}, {"mixed": "1", "t": None, "f": 2}),
        ], {})  # fmt: skip
    zoo = Zoo.open(tmp_path / "zoo")
    found = table(zoo.export(tmp_path / "out", "parquet")[0])
    assert same(found, zoo, list(zoo.rows))
    assert found["metrics.weights"].to_pylist() == [2.0, None]
    shown = {name: found[name].to_pylist() for name in ("run", "a", "mixed", "t", "f")}
    assert shown == {"run": ["1", "x"], "a": [1, 2], "mixed": ["1", '"1"'], "t": [True, None], "f": [1.5, 2.0]}


def test_a_column_has_one_type_in_all_files(tmp_path: Path) -> None:
    """Also where only the networks of one layout state it: the folder is to be read as one data set."""
    Zoo.create(tmp_path / "zoo", {})
    with Zoo.writer(tmp_path / "zoo") as writer:
        writer.append(Weights.of(nn.Linear(2, 1)), [RowInfo(1, 0, 0, {"accuracy": 0.5, "right": True})], {})
        writer.append(Weights.of(nn.Linear(3, 1)), [RowInfo(2, 0, 0, {"right": None}, {"note": "x"})], {})
    first, second = (table(path) for path in Zoo.open(tmp_path / "zoo").export(tmp_path / "out", "parquet"))
    types = [
        {field.name: str(field.type) for field in one.schema if field.name != "weights"} for one in (first, second)
    ]
    assert types[0] == types[1]
    assert {name: types[0][name] for name in ("accuracy", "right", "note")} == {
        "accuracy": "double", "right": "bool", "note": "string"
    }  # fmt: skip


def test_parquet_is_refused_where_it_cannot_be(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="no networks"):
        zoo.export(tmp_path / "out", "parquet", [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match=r"other files, such as 'thesis.tex'"):
        zoo.export(tmp_path / "mine", "parquet")
    plain = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match=r"pyarrow is not installed(.|\n)*pip install 'weightsmith\[tables\]'"):
        zoo.export(tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_a_failed_table_leaves_the_old_one(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = zoo.export(tmp_path / "out", "parquet", zoo.rows[:2])
    before = path.read_bytes()

    def fail(rows: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "read", fail)
    with pytest.raises(KeyboardInterrupt):
        zoo.export(tmp_path / "out", "parquet", zoo.rows[:4])
    assert path.read_bytes() == before
    assert [file.name for file in (tmp_path / "out").iterdir()] == [path.name]


def test_an_import_is_summarised(tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "in")
    import_zoo(open_source(folder, pattern="run_{run}/epoch_{step}-acc{test_acc}.pt"), tmp_path / "zoo")
    summary = summarise(Zoo.open(tmp_path / "zoo"))
    assert (summary.accuracy, summary.groups[0].highest) == ("test_acc", 0.51)
