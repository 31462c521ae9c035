"""Import of plain checkpoint files: what is stated of them, how they fit, what is refused, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_folders import facts, make_runs, nested, save, segments, state, write_table
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.checkpoint import write_checkpoint
from weightsmith.datasets import load_dataset
from weightsmith.errors import BadInput, LayoutMismatch
from weightsmith.layout import Layout
from weightsmith.reporter import Silent
from weightsmith.zoo import Zoo, import_zoo, open_source
from weightsmith.zoo.importing import batches
from weightsmith.zoo.importing.intake import Intake, read_layout
from weightsmith.zoo.importing.reporting import ImportReport

PATTERN = "run_{run}/epoch_{step}-acc{accuracy}.pt"


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def imported(folder: Path, out: Path, **options: Any) -> ImportReport:
    named = ("layout", "key", "strip", "table", "pattern", "ignore_unmatched")
    reading = {name: options.pop(name) for name in named if name in options}
    return import_zoo(open_source(folder, exclude=out, **reading), out, **options)


def test_without_any_statement_every_file_is_a_run(tmp_path: Path) -> None:
    folder, notes = make_runs(tmp_path / "in"), Notes()
    write_checkpoint(folder / "b.safetensors", state(50))
    save(folder / ".hidden" / "x.pt", 1)
    save(folder / "._b.pt", 1)
    report = imported(folder, tmp_path / "zoo", progress=notes)
    zoo = Zoo.open(tmp_path / "zoo")
    names = ["b.safetensors", *(f"run_{run}/epoch_{step}-acc0.{step}{run}.pt" for run in (0, 1) for step in (0, 1, 5))]
    assert [(row.run, row.step, row.seed) for row in zoo.rows] == [(name, 0, 0) for name in names]
    assert [row.extra["source"] for row in zoo.rows] == names
    for row, expected in ((zoo.rows[0], state(50)), (zoo.rows[6], state(15))):
        (found,) = zoo.read([row]).states()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert (report.stored, report.present, report.runs, report.skipped) == (7, 0, set(names), [])
    assert notes.notes == ["other files are left alone: 1 (README.md)"]
    assert zoo.provenance(zoo.rows[0])["imported"] == {"layout": "files", "folder": "in"}
    zoo.verify()


def test_a_pattern_states_runs_steps_and_metrics(tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "in")
    imported(folder, tmp_path / "zoo", pattern=PATTERN)
    assert [(run, step, metrics) for run, step, _, metrics, *_ in facts(tmp_path / "zoo")] == [
        (run, step, {"accuracy": float(f"0.{step}{run}")}) for run in (0, 1) for step in (0, 1, 5)
    ]
    weights, rows = Zoo.open(tmp_path / "zoo").trajectory(1)
    assert torch.equal(weights.states()[2]["0.weight"], state(15)["0.weight"])
    assert [row.step for row in rows] == [0, 1, 5]


def test_a_step_without_a_run_belongs_to_its_folder(tmp_path: Path) -> None:
    imported(make_runs(tmp_path / "in"), tmp_path / "zoo", pattern="{_}/epoch_{step}-acc{kind}.pt")
    assert [(run, step) for run, step, *_ in facts(tmp_path / "zoo")] == [
        (f"run_{run}", step) for run in (0, 1) for step in (0, 1, 5)
    ]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("epoch_{step}.pt", r"fits none of the 6 checkpoint files(.|\n)*run_0/epoch_0-acc0.00.pt(.|\n)*whole path"),
        ("run_{run}/epoch_{step}-acc{_}1.pt", r"does not fit: 3 \(run_0/epoch(.|\n)*--ignore-unmatched"),
        (
            "run_{_}/epoch_{run}-acc{_}.pt",
            r"run_0/epoch_0-acc0.00.pt and run_1/epoch_0-acc0.01.pt are both run 0, step 0",
        ),
    ],
)
def test_patterns_that_do_not_do_are_refused_before_anything_is_written(
    tmp_path: Path, pattern: str, problem: str
) -> None:
    folder = make_runs(tmp_path / "in")
    with pytest.raises(BadInput, match=problem):
        imported(folder, tmp_path / "zoo", pattern=pattern)
    assert not (tmp_path / "zoo").exists()


def test_what_a_pattern_does_not_fit_can_be_left_out(tmp_path: Path) -> None:
    folder, notes = make_runs(tmp_path / "in"), Notes()
    pattern = "run_{run}/epoch_{step}-acc{_}1.pt"
    imported(folder, tmp_path / "zoo", pattern=pattern, ignore_unmatched=True, progress=notes)
    assert {run for run, *_ in facts(tmp_path / "zoo")} == {1}
    assert any("left out: files that the pattern does not fit: 3 (run_0/" in note for note in notes.notes)


LINES = [
    {
        "file": "./b.pt",
        "run": "second",
        "step": 2,
        "seed": 2**63 - 1,
        "accuracy": 0.25,
        "optimizer": "adam",
        "ok": "True",
    },
    {"file": "a.pt", "run": "7", "step": "1.0", "seed": "", "accuracy": "nan", "optimizer": "", "ok": "false"},
    {"file": "sub/c.pt", "run": '"7"', "step": 1, "seed": 3, "accuracy": "", "optimizer": "sgd", "ok": ""},
]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a.pt", "b.pt", "sub/c.pt")):
        save(tmp_path / "in" / name, state(seed))
    return tmp_path / "in"


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_states_all(tmp_path: Path, three: Path, name: str) -> None:
    table = write_table(tmp_path / name, LINES)
    imported(three, tmp_path / "zoo", table=table)
    assert [row[:5] for row in facts(tmp_path / "zoo")] == [
        ("second", 2, 2**63 - 1, {"accuracy": 0.25}, {"optimizer": "adam", "ok": True}),
        (7, 1, 0, {"accuracy": None}, {"ok": False}),
        ("7", 1, 3, {"accuracy": None}, {"optimizer": "sgd"}),
    ]
    zoo = Zoo.open(tmp_path / "zoo")
    assert [row.run for row in zoo.select(where="optimizer = 'sgd' or ok")] == ["second", "7"]
    assert torch.equal(zoo.read(zoo.rows[:1]).states()[0]["0.weight"], state(1)["0.weight"])


def test_a_table_without_runs_makes_every_file_one(tmp_path: Path, three: Path) -> None:
    table = write_table(tmp_path / "t.csv", [{"file": line["file"], "loss": 1} for line in LINES])
    imported(three, tmp_path / "zoo", table=table)
    assert [row[:4] for row in facts(tmp_path / "zoo")] == [
        (name, 0, 0, {"loss": 1}) for name in ("b.pt", "a.pt", "sub/c.pt")
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([{"name": "a.pt"}], "no column 'file', only name"),
        ([*LINES, LINES[0]], r"names 'b.pt' twice"),
        (LINES[:2], r"does not name: 1 \(sub/c.pt\)(.|\n)*--ignore-unmatched"),
        ([*LINES, {**LINES[0], "file": "d.pt"}], r"are not there: 1 \(d.pt\)(.|\n)*--ignore-unmatched"),
        ([{**LINES[0], "file": "d.pt"}], r"names no file in"),
        ([LINES[0], LINES[1], {**LINES[2], "step": "soon"}], r"line 4: step 'soon' is not a whole number"),
        ([LINES[0], LINES[1], {**LINES[2], "step": -1}], r"line 4: step '-1'"),
        ([LINES[0], LINES[1], {**LINES[2], "run": "7"}], r"a.pt and sub/c.pt are both run 7, step 1"),
        ([*LINES[:2], {**LINES[2], "file": "../in/sub/c.pt"}], r"'../in/sub/c.pt' is not a path inside"),
    ],
)
def test_tables_that_do_not_do_are_refused_before_anything_is_written(
    tmp_path: Path, three: Path, lines: list[dict[str, Any]], problem: str
) -> None:
    table = write_table(tmp_path / "t.csv", lines)
    with pytest.raises(BadInput, match=problem):
        imported(three, tmp_path / "zoo", table=table, ignore_unmatched="inside" in problem)
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layout": "tar"}, "'tar' is unknown"),
        ({"layout": "ray-tune"}, "no folder with params.json"),
        ({"layout": "arrays"}, "does not hold weights.npy"),
        ({"table": Path("t.csv"), "pattern": "{run}.pt"}, "a table and a pattern"),
        ({"evaluate": True}, r"cannot be evaluated without an architecture(.|\n)*--architecture"),
        ({"table": Path("missing.csv")}, r"missing.csv: No such file"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, three: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        imported(three, tmp_path / "zoo", **options)
    assert not (tmp_path / "zoo").exists()


def test_folders_without_networks(tmp_path: Path, three: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_bytes(b"x")
    imported(three, tmp_path / "zoo")
    for name, problem in (
        ("missing", "not a folder"),
        ("empty", "holds no checkpoint"),
        ("other", r"only other files \(model.onnx\)"),
        ("zoo", "is a zoo already"),
    ):
        with pytest.raises(BadInput, match=problem):
            imported(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_zoo_may_lie_in_the_folder_and_other_zoos_are_left_alone(three: Path) -> None:
    notes = Notes()
    for name in ("first", "second"):
        imported(three, three / name, progress=notes)
        imported(three, three / name)
    assert [row.run for row in Zoo.open(three / "second").rows] == ["a.pt", "b.pt", "sub/c.pt"]
    assert "zoos in it are left alone: 1 (first)" in notes.notes


def test_nested_checkpoints_need_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.pt", nested(1))
    with pytest.raises(BadInput, match=r"a.pt: entry 'epoch' is a int(.|\n)*--key model.net.state"):
        imported(folder, tmp_path / "zoo")
    with pytest.raises(BadInput, match=r"nothing at key 'modle'(.|\n)*--key model.net.state"):
        imported(folder, tmp_path / "zoo", key="modle")
    with pytest.raises(BadInput, match=r"entry 'net.state' is a OrderedDict"):
        imported(folder, tmp_path / "zoo", key="model")
    assert not (tmp_path / "zoo").exists()
    imported(folder, tmp_path / "zoo", key="model.net.state")
    zoo = Zoo.open(tmp_path / "zoo")
    (found,) = zoo.read(zoo.rows).states()
    assert all(torch.equal(found[name], value) for name, value in state(1).items())
    write_checkpoint(folder / "b.safetensors", state(2))
    with pytest.raises(BadInput, match=r"b.safetensors is a safetensors file, which is one state dict"):
        imported(folder, tmp_path / "new", key="model.net.state")


def test_a_prefix_is_taken_off_where_all_have_it(tmp_path: Path) -> None:
    folder, form = tmp_path / "in", nn.Linear(2, 3)
    save(folder / "a.pt", {f"module.{name}": value for name, value in form.state_dict().items()})
    save(folder / "b.pt", form.state_dict())
    imported(folder, tmp_path / "zoo", strip="module.")
    assert list(Zoo.open(tmp_path / "zoo").layouts.values()) == [Layout.of(form)]
    save(folder / "c.pt", {"module.weight": torch.ones(1), "bias": torch.ones(1)})
    with pytest.raises(LayoutMismatch, match=r"c.pt: tensor 'bias' does not begin with 'module.'"):
        imported(folder, tmp_path / "zoo", strip="module.")


MODULES = {
    "linear": lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)),
    "norms": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(4)),
    "alone": lambda: nn.Linear(1, 1),
    "recurrent": lambda: nn.LSTM(2, 3),
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8),
    "unaffine": lambda: nn.BatchNorm1d(3, affine=False),
    "embedding": lambda: nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2).double()),
}


@pytest.mark.parametrize("kind", MODULES)
def test_the_layout_that_tensors_show_is_the_modules_own(kind: str) -> None:
    module = MODULES[kind]()
    assert read_layout(module.state_dict()) == Layout.of(module)


def test_several_layouts_live_in_one_zoo_and_the_order_of_names_is_that_first_seen(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name, value in (("a", state(1)), ("b", state(2, width=5)), ("c", dict(reversed(state(3).items())))):
        save(folder / f"{name}.pt", value)
    imported(folder, tmp_path / "zoo")
    zoo = Zoo.open(tmp_path / "zoo")
    assert [layout.parameters for layout in zoo.layouts.values()] == [29, 47]
    assert [row.run for row in zoo.rows] == ["a.pt", "c.pt", "b.pt"]
    assert torch.equal(zoo.read(zoo.select(run="c.pt")).states()[0]["0.weight"], state(3)["0.weight"])
    zoo.verify()


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "holds no floating-point tensor"),
        ({"n": torch.ones(2, dtype=torch.int64)}, "holds no floating-point tensor"),
        ({"w": torch.ones(2), "z": torch.ones(2, dtype=torch.complex64)}, "'z' is complex64, which a zoo cannot hold"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, document: Any, problem: str) -> None:
    save(tmp_path / "in" / "a.pt", document)
    with pytest.raises(LayoutMismatch, match=f"a.pt: .*{problem}"):
        imported(tmp_path / "in", tmp_path / "zoo")


FORM = Architecture("mlp", (1, 8, 8), 10, {"hidden": [4]})


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_dataset("digits", image_size=8)


def test_an_architecture_is_what_all_must_fit(tmp_path: Path, digits: Any) -> None:
    folder, notes = tmp_path / "in", Notes()
    save(folder / "a.pt", FORM.build(0).state_dict())
    save(folder / "b.pt", FORM.build(1).double().state_dict())
    save(folder / "c.pt", FORM.build(2).half().state_dict())
    save(folder / "d.pt", FORM.build(3).double().state_dict())
    report = imported(folder, tmp_path / "zoo", architecture=FORM, dataset=digits, progress=notes)
    assert report.casts == {"float64 -> float32": 8, "float16 -> float32": 4}
    assert [note.partition(" (")[0] for note in notes.notes] == [
        "b.pt: cast fc1.weight: float64 -> float32",
        "c.pt: cast fc1.weight: float16 -> float32",
    ]
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.layouts == {FORM.layout.fingerprint: FORM.layout}
    assert [len(row.extra.get("casts", [])) for row in zoo.rows] == [0, 4, 4, 4]
    provenance = zoo.provenance(zoo.rows[0])
    assert Architecture.from_json(provenance["architecture"]) == FORM
    assert provenance["dataset"] == {"name": "digits", "fingerprint": digits.fingerprint}


def test_evaluation_keeps_what_was_stated(tmp_path: Path, digits: Any) -> None:
    from weightsmith.ensemble import choose_precision, evaluate

    folder = tmp_path / "in"
    for seed in range(3):
        save(folder / f"r{seed}-acc0.{seed}-x5.pt", FORM.build(seed).state_dict())
    broken = FORM.build(9).state_dict()
    broken["fc1.weight"][0, 0] = float("nan")
    save(folder / "r9-acc0.9-x5.pt", broken)
    options = {"architecture": FORM, "dataset": digits, "evaluate": True, "pattern": "r{run}-acc{accuracy}-x{x}.pt"}
    report = imported(folder, tmp_path / "zoo", **options)
    zoo = Zoo.open(tmp_path / "zoo")
    precision = choose_precision("auto", torch.device("cpu"))
    expected = evaluate(FORM.build(0), zoo.read(zoo.rows), digits.validation, precision=precision)
    for row, measured in zip(zoo.rows, expected, strict=True):
        assert row.metrics["accuracy"] == pytest.approx(measured.accuracy)
        assert row.metrics["loss"] == pytest.approx(measured.loss, rel=1e-2)
        assert (row.metrics["stated_accuracy"], row.metrics["x"]) == (row.run / 10, 5)
    assert [entry.run for entry in report.quarantined] == [9]
    assert zoo.provenance(zoo.rows[0])["measured_on"] == "validation"


def test_an_architecture_that_cannot_read_the_data_is_refused_first(tmp_path: Path, digits: Any) -> None:
    other = Architecture("mlp", (1, 28, 28), 10, {"hidden": [4]})
    save(tmp_path / "in" / "a.pt", other.build(0).state_dict())
    with pytest.raises(BadInput, match=r"cannot be evaluated on 'digits': mat1 and mat2(.|\n)*--dataset"):
        imported(tmp_path / "in", tmp_path / "zoo", architecture=other, dataset=digits, evaluate=True)
    assert not (tmp_path / "zoo").exists()


def test_a_prefix_that_was_forgotten_is_named() -> None:
    wrapped = {f"module.{name}": value for name, value in FORM.build(0).state_dict().items()}
    with pytest.raises(LayoutMismatch, match=r"missing(.|\n)*give --strip module\."):
        Intake(FORM.layout).fit(wrapped)


def test_the_same_import_again_changes_nothing(tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "in")
    first = imported(folder, tmp_path / "zoo", pattern=PATTERN)
    before = {path: path.read_bytes() for path in (tmp_path / "zoo").rglob("*") if path.is_file()}
    again = imported(folder, tmp_path / "zoo", pattern=PATTERN)
    assert (first.stored, again.stored, again.present, again.runs) == (6, 0, 6, {0, 1})
    assert {path: path.read_bytes() for path in (tmp_path / "zoo").rglob("*") if path.is_file()} == before


def test_more_files_are_added_and_other_contents_refused(tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "in")
    imported(folder, tmp_path / "zoo", pattern=PATTERN)
    save(folder / "run_2" / "epoch_0-acc0.5.pt", state(77))
    assert imported(folder, tmp_path / "zoo", pattern=PATTERN).stored == 1
    save(folder / "run_3" / "epoch_0-acc0.5.pt", state(78))
    changed = folder / "run_0" / "epoch_1-acc0.10.pt"
    save(changed, state(79))
    before = segments(tmp_path / "zoo")
    for skip_bad in (False, True):
        with pytest.raises(BadInput, match=r"epoch_1-acc0.10.pt: run 0, step 1 is stored already with other contents"):
            imported(folder, tmp_path / "zoo", pattern=PATTERN, skip_bad=skip_bad)
    assert segments(tmp_path / "zoo") == before


class Stop(Exception):
    pass


@pytest.mark.parametrize("calls", [1, 13, 20, 24])
def test_what_was_interrupted_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(batches, "BYTES", 20_000)
    folder = make_runs(tmp_path / "in", runs=4)
    save(folder / "run_0" / "epoch_7-acc0.1.pt", state(5, width=4))
    imported(folder, tmp_path / "whole", pattern=PATTERN)
    left = calls

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    with pytest.raises(Stop):
        imported(folder, tmp_path / "halting", pattern=PATTERN, check=check)
    imported(folder, tmp_path / "halting", pattern=PATTERN)
    assert segments(tmp_path / "halting") == segments(tmp_path / "whole")
    assert len(segments(tmp_path / "whole")) > 3


def test_a_batch_is_bounded_in_bytes_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_runs(tmp_path / "in", runs=4)
    source = open_source(folder)
    monkeypatch.setattr(batches, "ROWS", 5)
    assert [len(batch) for batch in batches.batches(source)] == [5, 5, 2]
    monkeypatch.setattr(batches, "BYTES", 1)
    assert [len(batch) for batch in batches.batches(source)] == [1] * 12
    assert list(batches.batches([])) == []
