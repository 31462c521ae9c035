"""The commands on zoos: import, show, list and export as a user meets them, with every line that is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_folders import make_arrays, make_runs, make_trial, nested, save, state, write_table
from conftest import Run

from weightsmith.architectures import Architecture
from weightsmith.zoo import Zoo

PATTERN = "run_{run}/epoch_{step}-acc{accuracy}.pt"
FORM = Architecture("mlp", (1, 28, 28), 10, {"hidden": [4]})


def test_import_says_what_it_did(program: Run, tmp_path: Path) -> None:
    make_runs(tmp_path / "in")
    done = program("zoo", "import", "in", "--out", "zoo", "--pattern", PATTERN)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("6 networks imported into zoo: 2 runs, ")
    assert second == "layouts in the zoo: 1 (29 parameters)"
    assert done.stderr.splitlines() == [
        "  other files are left alone: 1 (README.md)",
        "checking 6 networks (files) ...",
        "  [1/6] names and headers are checked",
        "  [6/6] names and headers are checked",
        "importing 6 networks ...",
        "  [6/6] 6 networks stored",
    ]
    provenance = Zoo.open(tmp_path / "zoo").provenance(Zoo.open(tmp_path / "zoo").rows[0])
    assert provenance["command"] == f"weightsmith zoo import in --out zoo --pattern {PATTERN}"
    again = program("zoo", "import", "in", "--out", "zoo", "--pattern", PATTERN)
    assert again.stdout.startswith("0 networks imported into zoo, 6 were there already: 2 runs, ")


def test_import_as_a_document_with_its_troubles(program: Run, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.pt", {name: value.double() for name, value in FORM.build(0).state_dict().items()})
    broken = FORM.build(1).state_dict()
    broken["fc1.bias"][0] = float("inf")
    save(tmp_path / "in" / "b.pt", broken)
    (tmp_path / "in" / "c.pt").write_bytes(b"garbage")
    arguments = ["zoo", "import", "in", "--out", "zoo", "--architecture", "mlp", "--option", "hidden=[4]"]
    arguments += ["--dataset", "digits", "--evaluate"]
    refused = program(*arguments)
    assert refused.returncode == 2
    assert "c.pt is not a zip-format PyTorch file" in refused.stderr
    assert refused.stderr.rstrip().endswith("or leave out what is bad with --skip-bad")
    assert not (tmp_path / "zoo").exists()
    done = program(*arguments, "--skip-bad", "--json")
    assert done.returncode == 0, done.stderr
    for note in (
        "a.pt: cast fc1.weight: float64 -> float32",
        "skipped: in/c.pt is not a zip",
        "quarantined: run 'b.pt'",
    ):
        assert note in done.stderr
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "kind", "headline", "rows", "environment"]
    headline = document["headline"]
    assert headline.pop("seconds") > 0
    assert headline == {
        "networks": 1, "present": 0, "runs": 1, "layouts": {FORM.layout.fingerprint: FORM.layout.parameters},
        "quarantined": 1, "casts": {"float64 -> float32": 4}, "skipped": 1,
    }  # fmt: skip
    assert [(row["outcome"], row.get("run") or row.get("name")) for row in document["rows"]] == [
        ("quarantined", "b.pt"), ("skipped", "c.pt")
    ]  # fmt: skip
    (row,) = Zoo.open(tmp_path / "zoo").rows
    assert set(row.metrics) == {"accuracy", "loss"}
    lines = program(*arguments, "--skip-bad").stdout.splitlines()
    assert lines[2:] == ["quarantined, since not finite: 1", "skipped, since bad: 1"]


def test_what_is_stored_is_not_measured_later_and_that_is_said(program: Run, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.pt", FORM.build(0).state_dict())
    arguments = ["zoo", "import", "in", "--out", "zoo", "--architecture", "mlp", "--option", "hidden=[4]"]
    arguments += ["--dataset", "digits"]
    assert program(*arguments).returncode == 0
    done = program(*arguments, "--evaluate")
    assert done.returncode == 0, done.stderr
    assert "1 that were there already stay unmeasured" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing"], "missing is not a folder"),
        (["in", "--layout", "tar"], "'tar' is unknown"),
        (["in", "--option", "hidden=[3]"], "--option hidden=[3] is given without --architecture"),
        (["in", "--architecture", "mpl"], "the nearest is 'mlp'"),
        (["in", "--architecture", "mlp", "--option", "hiden=[3]"], "the nearest is 'hidden'"),
        (
            ["in", "--architecture", "mlp", "--option", "hidden"],
            "'architecture.options.hidden' is not section.key=value",
        ),
        (["in", "--dataset", "digitts"], "the nearest is 'digits'"),
        (["in", "--evaluate"], "name them with --architecture and --dataset"),
        (["in", "--table", "t.csv", "--pattern", "{run}.pt"], "a table and a pattern are given"),
        (["in", "--table", "missing.csv"], "cannot read the table missing.csv"),
        (["in", "--pattern", "{run"], "close every field"),
        (["in", "--key", "model"], "holds nothing at key 'model'"),
        (["in", "--keys", "model"], "No such option: --keys"),
        (["in", "--architecture", "mlp", "--dataset", "digits"], "tensor 'fc1.weight' is missing"),
    ],
)
def test_mistakes_are_told_with_what_to_do(program: Run, tmp_path: Path, arguments: list[str], expected: str) -> None:
    make_runs(tmp_path / "in", runs=1, steps=[0])
    done = program("zoo", "import", *arguments, "--out", "zoo")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "zoo").exists()


def test_import_of_everything_that_is_published(program: Run, tmp_path: Path) -> None:
    save(tmp_path / "nested" / "a.pth", nested(1))
    make_arrays(tmp_path / "arrays")
    make_trial(tmp_path / "tuned" / "trial", ["checkpoint_000001"], [{"training_iteration": 1, "test_acc": 0.5}])
    save(tmp_path / "tabled" / "a.pt", state(1))
    write_table(tmp_path / "t.csv", [{"file": "a.pt", "optimizer": "adam", "accuracy": 0.5}])
    for folder, options, networks in (
        ("nested", ["--key", "model.net.state"], 1),
        ("arrays", [], 6),
        ("tuned", ["--layout", "ray-tune"], 1),
        ("tabled", ["--table", "t.csv"], 1),
    ):
        done = program("zoo", "import", folder, "--out", "zoo", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{networks} networks imported into zoo: ")
    shown = program("zoo", "show", "zoo").stdout
    assert shown.startswith("9 networks of 5 runs, step 0 to 86; ")
    listed = program("zoo", "list", "zoo", "--where", "optimizer = 'adam' or \"optim::lr\" = 0.1")
    assert listed.stdout.splitlines() == [
        "run trial  step 1  test_acc 0.5000", "run a.pt  step 0  accuracy 0.5000", "2 networks"
    ]  # fmt: skip


def test_a_module_of_the_users_own(program: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\ndef net(width):\n    return nn.Linear(784, width)\n")
    save(tmp_path / "in" / "a.pt", torch.nn.Linear(784, 10).state_dict())
    arguments = ["zoo", "import", "in", "--out", "zoo", "--architecture", "mine:net", "--option", "width=10"]
    done = program(*arguments, "--dataset", "digits")
    assert done.returncode == 0, done.stderr
    wrong = program(*arguments, "--dataset", "digits", "--evaluate", "--out", "other")
    assert "cannot be evaluated on 'digits'" in wrong.stderr


def test_show_a_zoo_that_was_built(program: Run, tiny_run: Path) -> None:
    done = program("zoo", "show", tiny_run / "zoo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("9 networks of 3 runs, step 0 to 2; ")
    assert "last accuracy: min" in done.stdout
    assert "digits" in done.stdout
    document = json.loads(program("zoo", "show", tiny_run / "zoo", "--json").stdout)
    assert document["kind"] == "zoo summary"
    assert (document["headline"]["networks"], document["headline"]["runs"]) == (9, 3)
    assert str(tiny_run) not in json.dumps(document)
    (group,) = document["rows"]
    assert (group["runs"], group["measured"]) == (3, 3)
    assert group["lowest"] <= group["median"] <= group["highest"]
    chosen = program("zoo", "show", tiny_run / "zoo", "--where", "step = 2 and run < 2")
    assert chosen.stdout.startswith("2 networks of 2 runs, step 2; ")


def test_show_a_run(program: Run, tiny_run: Path) -> None:
    zoo = Zoo.open(tiny_run / "zoo")
    done = program("zoo", "show", tiny_run / "zoo", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run 1, seed ")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("step ")] == ["0", "1", "2"]
    for row in zoo.select(run=1):
        assert row.sha256 in done.stdout
    document = json.loads(program("zoo", "show", tiny_run / "zoo", 1, "--json", "--where", "step > 0").stdout)
    assert (document["kind"], document["headline"]["run"]) == ("zoo run", 1)
    assert [row["step"] for row in document["rows"]] == [1, 2]
    missing = program("zoo", "show", tiny_run / "zoo", "first")
    assert (missing.returncode, "holds no run 'first'" in missing.stderr) == (2, True)


def test_export_as_a_table_and_back(program: Run, tiny_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    done = program(
        "zoo", "export", tiny_run / "zoo", "--out", "t.parquet", "--format", "parquet", "--where", "step = 1"
    )
    assert (done.returncode, done.stdout) == (0, "3 networks in t.parquet\n")
    program("zoo", "export", tiny_run / "zoo", "--out", "files", "--where", "step = 1")
    back = program("zoo", "import", "files", "--out", "zoo")
    assert back.returncode == 0, back.stderr
    rows = Zoo.open(tiny_run / "zoo").select(step=1)
    assert [row.sha256 for row in Zoo.open(tmp_path / "zoo").rows] == [row.sha256 for row in rows]


def test_commands_on_what_is_no_zoo(program: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for command in (["list"], ["show"], ["show", "--json"], ["verify"], ["export", "--out", "x"]):
        done = program("zoo", command[0], "other", *command[1:])
        assert done.returncode == 2
        assert "other is not a zoo" in done.stderr
    shutil.rmtree(tmp_path / "other")
