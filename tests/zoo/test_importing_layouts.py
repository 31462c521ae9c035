"""Import of published layouts: Ray Tune's folders, arrays of many networks, and what this program exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_folders import PARTS, facts, make_arrays, make_runs, make_trial, save, state, write_table
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.layout import Layout, Weights
from weightsmith.zoo import RowInfo, Zoo, import_zoo, open_source


def imported(folder: Path, out: Path, **reading: Any) -> Zoo:
    import_zoo(open_source(folder, exclude=out, **reading), out)
    return Zoo.open(out)


def old(iterations: range, **facts: Any) -> list[dict[str, Any]]:
    """Results as Ray wrote them until 2.6."""
    return [{"training_iteration": i, "experiment_id": "e", "pid": 7, "test_acc": i / 10, **facts} for i in iterations]


def new(iterations: range) -> list[dict[str, Any]]:
    return [{"training_iteration": i, "test_acc": i / 10, "time_total_s": 1.5} for i in iterations]


def names(numbers: list[int]) -> list[str]:
    return [f"checkpoint_{number:06d}" for number in numbers]


TRIALS: dict[str, tuple[list[str], list[dict[str, Any]], dict[int, float | None]]] = {
    "published, first results too": (names([0, 1, 2]), old(range(3)), {0: 0.0, 1: 0.1, 2: 0.2}),
    "published, no result of the init": (names([0, 1, 2]), old(range(1, 3)), {0: None, 1: 0.1, 2: 0.2}),
    "published, other names": (["checkpoint_0", "checkpoint_10"], old(range(1, 11)), {0: None, 10: 1.0}),
    "published, few checkpoints": (names([0, 1]), old(range(1, 11)), {0: None, 1: 0.1}),
    "resumed, a result twice": (names([1]), [*old(range(2)), *old(range(1, 2), test_acc=0.7)], {1: 0.7}),
    "new, a checkpoint an iteration": (names([0, 1, 2]), new(range(1, 4)), {1: 0.1, 2: 0.2, 3: 0.3}),
    "new, nothing says which": (names([0, 1]), new(range(1, 11)), {0: None, 1: None}),
    "new, named": (
        names([0, 1]),
        [{**line, "checkpoint_dir_name": f"checkpoint_{i:06d}"} for i, line in enumerate(new(range(5, 11, 5)))],
        {5: 0.5, 10: 1.0},
    ),
    "no results": (names([0, 3]), [], {0: None, 3: None}),
}


@pytest.mark.parametrize("kind", TRIALS)
def test_a_checkpoint_gets_the_result_that_is_its_own(tmp_path: Path, kind: str) -> None:
    checkpoints, results, expected = TRIALS[kind]
    make_trial(tmp_path / "in" / "trial", checkpoints, results)
    zoo = imported(tmp_path / "in", tmp_path / "zoo")
    assert {row.step: row.metrics.get("test_acc") for row in zoo.rows} == expected
    assert all(set(row.metrics) <= {"test_acc"} for row in zoo.rows), "what Ray fills in is no metric"
    assert [("unmatched" in row.extra) for row in zoo.rows] == ["nothing says" in kind] * len(zoo)
    for index, row in enumerate(zoo.rows):
        assert (row.run, row.seed) == ("trial", 4)
        assert (row.extra["optim::lr"], row.extra["model.type"]) == (0.1, "CNN")
        assert row.extra["source"] == f"trial/{checkpoints[index]}/checkpoints"
        assert torch.equal(zoo.read([row]).states()[0]["0.weight"], state(index)["0.weight"])


def test_old_marks_say_that_numbers_are_iterations(tmp_path: Path) -> None:
    trial = make_trial(tmp_path / "in" / "trial", names([0, 1, 2]), new(range(1, 4)))
    (trial / "checkpoint_000000" / ".tune_metadata").write_bytes(b"never opened")
    zoo = imported(tmp_path / "in", tmp_path / "zoo")
    assert {row.step: row.metrics.get("test_acc") for row in zoo.rows} == {0: None, 1: 0.1, 2: 0.2}


def test_what_was_not_measured_is_none(tmp_path: Path) -> None:
    line = {"training_iteration": 0, "train_loss": -999, "loss": float("nan"), "ok": True, "name": "x", "many": [1]}
    trial = make_trial(tmp_path / "in" / "t", names([0]), [line])
    with (trial / "result.json").open("a") as text:
        text.write('{"training_iteration": 1, "train_l')  # the trial was killed
    (row,) = imported(tmp_path / "in", tmp_path / "zoo").rows
    assert row.metrics == {"train_loss": None, "loss": None, "ok": True}


def test_trials_lie_anywhere_and_hold_one_file_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_trial(folder / "a" / "t0", names([1]), [], name="model.pt")
    make_trial(folder / "b" / "deep" / "t1", names([1]), [])
    (folder / "b" / "deep" / "t1" / "params.json").unlink()
    save(folder / "dataset.pt", {"x": 1})
    zoo = imported(folder, tmp_path / "zoo")
    assert [(row.run, row.seed, row.step) for row in zoo.rows] == [("a/t0", 4, 1), ("b/deep/t1", 0, 1)]
    assert imported(folder / "a" / "t0", tmp_path / "one").rows[0].run == "."


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("params.json", "{", "params.json is not valid JSON"),
        ("params.json", "[1]", "does not hold settings"),
        ("params.json", '{"a": 1, "a": 2}', "twice"),
        ("result.json", "{}\n", "line 1 is not a result with a training_iteration"),
        ("result.json", '{"training_iteration": 1}\nnot json\n{}\n', "line 2 is not valid JSON"),
        ("result.json", "\xff", "."),
        ("result.json", '{"training_iteration": 1, "a": 1e999, "b": ' + "9" * 5000 + "}\n", "line 1 is not valid JSON"),
    ],
)
def test_damaged_results_are_refused_or_skipped(tmp_path: Path, file: str, text: str, problem: str) -> None:
    folder = tmp_path / "in"
    make_trial(folder / "bad", names([1]), [])
    make_trial(folder / "good", names([1]), [])
    (folder / "bad" / file).write_text(text, encoding="latin-1")
    source = open_source(folder)
    with pytest.raises(ArtifactError, match=problem):
        import_zoo(source, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
    report = import_zoo(source, tmp_path / "zoo", skip_bad=True)
    assert ([entry.name for entry in report.skipped], report.runs) == (["bad/checkpoint_000001"], {"good"})


@pytest.mark.parametrize("zipped", [True, False])
def test_arrays_become_networks_of_pytorchs_form(tmp_path: Path, zipped: bool) -> None:
    values = make_arrays(tmp_path / "in", zipped=zipped)
    values[4, 20] = np.nan
    np.save(tmp_path / "in" / "weights.npy", values)
    zoo = imported(tmp_path / "in", tmp_path / "zoo")
    assert [(row.run, row.step, row.seed) for row in zoo.rows] == [
        ("/x/0", 0, 42), ("/x/0", 1, 42), ("/x/0", 86, 42), ("/x/1", 0, 42), ("/x/1", 86, 42)
    ]  # fmt: skip
    assert [(entry.run, entry.step) for entry in zoo.quarantined] == [("/x/1", 1)]
    assert zoo.rows[1].metrics == {"test_accuracy": 0.1}
    assert zoo.rows[1].extra["activation"] == "relu"
    assert (zoo.rows[1].extra["learning_rate"], zoo.rows[1].extra["laststep"]) == (0.01, False)
    form = nn.ModuleDict({"conv2d": nn.Conv2d(1, 2, 3), "dense": nn.Linear(2, 3)})
    (found,) = zoo.read(zoo.rows[1:2]).states()
    form.load_state_dict(found)
    row = values[1]
    assert found["conv2d.weight"][1, 0, 2, 0] == row[2:20].reshape(3, 3, 1, 2)[2, 0, 0, 1]
    assert found["dense.weight"][2, 1] == row[23:].reshape(2, 3)[1, 2]
    assert {spec.name: spec.role for spec in next(iter(zoo.layouts.values())).tensors} == {
        "conv2d.bias": "bias", "conv2d.weight": "weight", "dense.bias": "bias", "dense.weight": "weight"
    }  # fmt: skip


def test_arrays_of_other_forms(tmp_path: Path) -> None:
    values = make_arrays(tmp_path / "in")
    (tmp_path / "in" / "metrics.csv.gz").unlink()
    for number, dtype in enumerate((">f4", "<f8", "<f2")):
        np.save(tmp_path / "in" / "weights.npy", np.asfortranarray(values.astype(dtype)))
        zoo = imported(tmp_path / "in", tmp_path / f"zoo{number}")
        assert [(row.run, row.step) for row in zoo.rows] == [(i, 0) for i in range(6)]
        found = zoo.read(zoo.rows)
        assert torch.equal(
            found.stacked()["conv2d.bias"].float(), torch.tensor(values.astype(dtype).astype("<f4"))[:, :2]
        )
    lines = [{"varname": "w", "start_idx": 0, "end_idx": 29, "size": 29, "shape": "[29]"}]
    write_table(tmp_path / "in" / "layout.csv", lines)
    assert [spec.name for spec in next(iter(imported(tmp_path / "in", tmp_path / "z").layouts.values())).tensors] == [
        "w"
    ]


def parts(**change: Any) -> list[dict[str, Any]]:
    lines, start = [], 0
    for name, shape in PARTS:
        size = int(np.prod(shape))
        lines.append({"varname": name, "start_idx": start, "end_idx": start + size, "size": size, "shape": str(shape)})
        start += size
    lines[1] |= change
    return lines


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([{"varname": "w"}], "no column 'start_idx'"),
        (parts(start_idx=3), "line 3 is not a tensor"),
        (parts(shape="(3, 3, 1)"), "line 3 is not a tensor"),
        (parts(shape="[" + "1," * 50 + "]"), "line 3 is not a tensor"),
        (parts(shape="__import__('os')"), "line 3 is not a tensor"),
        (parts(start_idx=1, end_idx=19), "overlaps others or leaves a hole"),
        (parts(varname="sequential/conv2d/bias:0"), "names 'conv2d.bias' twice"),
        (parts()[:-1], "states 23 parameters, not 29"),
    ],
)
def test_layouts_that_do_not_describe_the_array(tmp_path: Path, lines: list[dict[str, Any]], problem: str) -> None:
    make_arrays(tmp_path / "in")
    write_table(tmp_path / "in" / "layout.csv", lines)
    with pytest.raises(ArtifactError, match=problem):
        open_source(tmp_path / "in")


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"table": Path("x.csv"), "layout": "arrays"}, "--table"), ({"key": "m"}, "--key"), ({"strip": "m."}, "--strip")],
)
def test_options_that_say_nothing_of_arrays(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    make_arrays(tmp_path / "in")
    with pytest.raises(BadInput, match=problem):
        open_source(tmp_path / "in", **options)


def test_an_architecture_fits_arrays(tmp_path: Path) -> None:
    make_arrays(tmp_path / "in")
    source = open_source(tmp_path / "in")
    with pytest.raises(BadInput, match=r"weights.npy\[0\]: tensor 'fc1.weight' is missing"):
        import_zoo(source, tmp_path / "zoo", architecture=Architecture("mlp", (1, 8, 8), 10))


@pytest.fixture
def strange(tmp_path: Path) -> Zoo:
    """A zoo with every kind of run, metric, extra and layout that an export must bring back."""
    Zoo.create(tmp_path / "strange", {})
    runs = [3, "3", "007", -4, "", ' "quoted"', "a,b\nc", "é ☃", "../../x", "null", "\0", "-1e3"]
    values = [0.1 + 0.2, 5, True, None, 1e-300, -0.0, 2**62, 1e22]
    extra = {"optimizer": "adam", "nested": {"a": [1, None]}, "text": 'a,"b"\n'}
    rows = [RowInfo(run, i, 2**63 - 1 - i, {"m": values[i % 8], f"a {i % 2}": 1.0}, extra if i % 3 else {})
            for i, run in enumerate(runs)]  # fmt: skip
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).bfloat16()
    weights = Weights.of(*[module] * len(rows))
    weights = weights.replace(torch.arange(weights.vectors.numel()).reshape(weights.vectors.shape).float() % 99)
    with Zoo.writer(tmp_path / "strange") as writer:
        writer.append(weights, rows, {"architecture": "x"})
        writer.append(Weights.of(nn.Linear(4, 1).double()), [RowInfo("d", 0, 0, {"m": 7.0})], {})
    return Zoo.open(tmp_path / "strange")


@pytest.mark.parametrize("format", ["safetensors", "pt"])
def test_an_export_comes_back_exactly(tmp_path: Path, strange: Zoo, format: str) -> None:
    strange.export(tmp_path / "out", format)
    zoo = imported(tmp_path / "out", tmp_path / "zoo")
    assert facts(zoo) == facts(strange)
    assert zoo.layouts == strange.layouts
    for row, other in zip(zoo.rows, strange.rows, strict=True):
        assert type(row.run) is type(other.run)
        assert {k: type(v) for k, v in row.metrics.items()} == {k: type(v) for k, v in other.metrics.items()}
        assert torch.equal(zoo.read([row]).vectors, strange.read([other]).vectors)
    zoo.export(tmp_path / "again", format)
    assert facts(imported(tmp_path / "again", tmp_path / "third")) == facts(strange)


def test_an_export_of_a_build_comes_back(tmp_path: Path, tiny_run: Path) -> None:
    built = Zoo.open(tiny_run / "zoo")
    built.export(tmp_path / "out", rows=built.select(where="step > 0"))
    zoo = imported(tmp_path / "out", tmp_path / "zoo")
    assert facts(zoo) == [fact for fact in facts(built) if fact[1] > 0]
    assert zoo.layouts == built.layouts


def test_a_changed_export_is_refused(tmp_path: Path, strange: Zoo) -> None:
    out = tmp_path / "out"
    first, second, *_ = strange.export(out, "safetensors")
    whole = {path.name: path.read_bytes() for path in out.iterdir()}

    def refused(problem: str) -> None:
        with pytest.raises(ArtifactError, match=problem):
            imported(out, tmp_path / "zoo")
        for name, data in whole.items():
            (out / name).write_bytes(data)

    first.write_bytes(second.read_bytes())
    refused("was changed or damaged after it was exported")
    layouts = json.loads((out / "layouts.json").read_text())
    next(iter(layouts.values()))[0]["role"] = "bias"
    (out / "layouts.json").write_text(json.dumps(layouts))
    refused("was changed after it was exported")
    (out / "layouts.json").write_text('{"a": [1]}')
    refused("does not hold layouts")
    index = (out / "index.csv").read_text()
    (out / "index.csv").write_text(
        index.replace("run-00003-step-00000.safetensors,3,0", "run-00003-step-00000.safetensors,3,x")
    )
    refused("line 2 has no run, step or seed")
    (out / "index.csv").write_text(index.replace("0.30000000000000004", "{"))
    refused("which is not a value")
    first.unlink()
    refused("is missing or not a regular file")


def test_files_beside_an_export_are_refused(tmp_path: Path, strange: Zoo) -> None:
    strange.export(tmp_path / "out", "pt")
    save(tmp_path / "out" / "mine.pt", state(0))
    with pytest.raises(BadInput, match=r"1 checkpoint files that index.csv does not name \(mine.pt\)"):
        imported(tmp_path / "out", tmp_path / "zoo")
    assert len(imported(tmp_path / "out", tmp_path / "zoo", pattern="{file_name}.pt").rows) == 14


def test_an_old_export_without_layouts_is_imported(tmp_path: Path) -> None:
    zoo = imported(make_runs(tmp_path / "in"), tmp_path / "zoo")
    zoo.export(tmp_path / "out")
    (tmp_path / "out" / "layouts.json").unlink()
    assert facts(imported(tmp_path / "out", tmp_path / "again")) == facts(zoo)
    assert isinstance(next(iter(zoo.layouts.values())), Layout)
