"""Rows 1, 4 and 13 to 32 for imports: hostile, damaged and mismatched files, links, kills and signals."""

from __future__ import annotations

import io
import os
import pickle
import resource
import shlex
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_folders import facts, make_arrays, make_runs, make_trial, nested, save, segments, state
from conftest import Run
from damage import cut, flipped
from interrupted_runs import start, start_program
from kill_counts import Count, record
from test_rows_15_19_tensor_files import BAD
from test_rows_20_28_checkpoints import HOSTILE, Calls, saved, with_pickle
from through_kills import Moments, ended_through_kills
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.checkpoint import read_checkpoint, write_checkpoint
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.zoo import Zoo, import_zoo, open_source
from weightsmith.zoo.importing import batches
from weightsmith.zoo.importing.reporting import ImportReport
from weightsmith.zoo.importing.sources import Unusable

FORM = Architecture("mlp", (1, 2, 2), 3, {"hidden": [2]})
PATTERN = "run_{run}/epoch_{step}-acc{accuracy}.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good networks, between which a bad one is to lie."""
    for name in ("a.pt", "z.pt"):
        save(tmp_path / "in" / name, state(ord(name[0])))
    return tmp_path / "in"


def imported(folder: Path, out: Path, **options: Any) -> ImportReport:
    return import_zoo(open_source(folder, exclude=out), out, **options)


def refused(folder: Path, out: Path, name: str, **options: Any) -> None:
    """The import is refused with the file named; with `skip_bad` the two good ones are stored, and it is named."""
    with pytest.raises(BadInput, match=rf"(?s){name}.*remedy.*--skip-bad"):
        imported(folder, out, **options)
    assert not out.exists() or len(Zoo.open(out)) <= 1
    report = imported(folder, out, skip_bad=True, **options)
    assert [entry.name for entry in report.skipped] == [name]
    assert name in report.skipped[0].reason
    assert [row.extra["source"] for row in Zoo.open(out).rows] == ["a.pt", "z.pt"]
    Zoo.open(out).verify()


@pytest.fixture
def bounded() -> Iterator[None]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 150_000  # kilobytes


@pytest.mark.parametrize("kind", BAD)
def test_rows_15_to_19_bad_tensor_files_are_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, bounded: None, kind: str
) -> None:
    (folder / "m.safetensors").write_bytes(BAD[kind])
    with pytest.raises(ArtifactError, match=r"m\.safetensors"):
        imported(folder, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
    refused(folder, tmp_path / "zoo", "m.safetensors")


@pytest.mark.parametrize("kind", HOSTILE)
def test_rows_20_to_23_hostile_checkpoints_are_refused(folder: Path, tmp_path: Path, bounded: None, kind: str) -> None:
    (folder / "m.pt").write_bytes(HOSTILE[kind]())
    refused(folder, tmp_path / "zoo", "m.pt")


HOSTILE_BESIDE: dict[str, Callable[[], bytes]] = {
    "evaluates": lambda: with_pickle(pickle.dumps({"model": {}, "x": Calls(eval, "1 + 1")}, 2)),
    "bytearray": lambda: with_pickle(pickle.dumps({"model": {}, "x": Calls(bytearray, 4 * 10**9)}, 2)),
    "storage of 4 TB": lambda: with_pickle(pickle.dumps({"x": Calls(torch.UntypedStorage, 4 * 10**12)}, 2)),
    "module": lambda: saved({"model": nn.Linear(2, 2).state_dict(), "net": nn.Linear(2, 2)}),
    "stride 0": lambda: saved({"model": {"w": torch.zeros(1).expand(10**12)}}),
    "not at the key": lambda: saved({"state": {"w": torch.zeros(1)}}),
    "a number at the key": lambda: saved({"model": 3}),
    "a list": lambda: saved([{"model": {}}]),
    "deep": lambda: with_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
}


@pytest.mark.parametrize("kind", HOSTILE_BESIDE)
def test_rows_20_to_24_hold_beside_a_named_part(tmp_path: Path, bounded: None, kind: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(HOSTILE_BESIDE[kind]())
    with pytest.raises(ArtifactError, match=r"(?s)x.pt.*remedy"):
        read_checkpoint(path, "model")


def test_row_23_a_part_beside_the_state_runs_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    folder = tmp_path / "in"
    good = nested(1)
    save(folder / "good.pt", good)
    (folder / "bad.pt").write_bytes(
        with_pickle(pickle.dumps({"model": {}, "x": Calls(os.system, f"touch {proof}")}, 2))
    )
    with pytest.raises(ArtifactError, match=r"bad\.pt names 'posix system'"):
        import_zoo(open_source(folder, key="model.net.state"), tmp_path / "zoo")
    assert not proof.exists()
    assert not (tmp_path / "zoo").exists()


def test_row_24_there_is_no_less_safe_retry(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(*_: Any, **options: Any) -> Any:
        calls.append(options)
        raise pickle.UnpicklingError("Weights only load failed")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(ArtifactError, match="Weights only load failed"):
        imported(folder, tmp_path / "zoo")
    assert [options["weights_only"] for options in calls] == [True]


def test_row_25_metadata_pickles_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make_trial(tmp_path / "in" / "t", ["checkpoint_000001"], [{"training_iteration": 1}])
    opened: list[str] = []
    plain = io.open

    def watched(file: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(Path(file).name if isinstance(file, str | Path) else "")
        return plain(file, *arguments, **options)

    monkeypatch.setattr("io.open", watched)
    monkeypatch.setattr("builtins.open", watched)
    for name in ("params.pkl", "checkpoint_000001/.tune_metadata", "checkpoint_000001/metadata.pkl"):
        (trial / name).write_bytes(pickle.dumps(Calls(os.system, "touch it-ran")))
    opened.clear()
    imported(tmp_path / "in", tmp_path / "zoo")
    assert "checkpoints" in opened
    assert not {"params.pkl", ".tune_metadata", "metadata.pkl", "optimizer"} & set(opened)


@pytest.mark.parametrize("damaged", [cut, flipped])
@pytest.mark.parametrize("kind", ["pt", "safetensors", "npy"])
def test_rows_13_and_14_every_cut_and_every_flip(
    tmp_path: Path, kind: str, damaged: Callable[[bytes], Iterator[bytes]]
) -> None:
    """A cut is always refused. A flip in a `.pt` is refused or harmless; a foreign safetensors or npy file has no
    checksum, so that a flip in its tensors is read as it stands: the limit that `docs/importing.md` states."""
    folder = tmp_path / "in"
    if kind == "npy":
        make_arrays(folder, networks=2)
        path = folder / "weights.npy"
    else:
        path = folder / f"a.{kind}"
        write_checkpoint(path, {"w": torch.arange(1.0, 4.0), "n": torch.tensor([7])})
    data, whole = path.read_bytes(), read_all(folder)
    unnoticed = 0
    for changed in damaged(data):
        path.write_bytes(changed)
        try:
            found = read_all(folder)
        except BadInput:
            continue
        assert damaged is flipped
        if kind == "pt":
            assert [list(state) for state in found] == [list(state) for state in whole]
            pairs = zip(found[0].values(), whole[0].values(), strict=True)
            assert all(torch.equal(value, expected) for value, expected in pairs)
        unnoticed += 1
    assert (unnoticed > 0) == (damaged is flipped)


def read_all(folder: Path) -> list[dict[str, torch.Tensor]]:
    states = []
    for item in open_source(folder):
        assert not isinstance(item, Unusable)
        states.append(item.read())
    return states


@pytest.mark.parametrize(
    ("name", "data"),
    [("weights.npy", b""), ("weights.npy", b"\x93NUMPY"), ("layout.csv", b""), ("metrics.csv.gz", b"not gzip"),
     ("metrics.csv.gz", b"\x1f\x8b\x08\x00"), ("layout.csv", b"\x00" * 50)],
)  # fmt: skip
def test_row_15_damaged_arrays_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    make_arrays(tmp_path / "in")
    (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        imported(tmp_path / "in", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"
ARRAYS: dict[str, bytes] = {
    "objects": HEADER.format("'|O'", "(2, 29)").encode(),
    "overflowing": HEADER.format("'<f4'", "(4611686018427387904, 29)").encode(),
    "huge": HEADER.format("'<f4'", "(1000000000, 29)").encode(),
    "whole numbers": HEADER.format("'<i4'", "(6, 29)").encode(),
    "three axes": HEADER.format("'<f4'", "(6, 29, 1)").encode(),
    "trailing": HEADER.format("'<f4'", "(5, 29)").encode(),
    "negative": HEADER.format("'<f4'", "(-6, -29)").encode(),
    "code": b"__import__('os').system('touch it-ran')",
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_rows_16_to_23_hostile_arrays_are_refused(
    tmp_path: Path, bounded: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    values = make_arrays(tmp_path / "in")
    text = ARRAYS[kind] + b" " * (117 - len(ARRAYS[kind]) % 118) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    body = pickle.dumps(Calls(os.system, "touch it-ran")) if kind == "objects" else values.tobytes()
    (tmp_path / "in" / "weights.npy").write_bytes(data + body)
    with pytest.raises(ArtifactError, match=r"weights\.npy"):
        imported(tmp_path / "in", tmp_path / "zoo")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_row_15_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    values = make_arrays(tmp_path / "in")
    with (tmp_path / "in" / "weights.npy").open("wb") as file:
        np.savez(file, values)
    with pytest.raises(ArtifactError, match=r"weights.npy is not a .npy file"):
        imported(tmp_path / "in", tmp_path / "zoo")


NAMES = ["../../x", "/etc/passwd", "a\0b", "__metadata__", "weights", "é\n", "x" * 3000]


@pytest.mark.parametrize("name", NAMES)
def test_row_22_names_are_never_paths(tmp_path: Path, name: str) -> None:
    save(tmp_path / "in" / "a.pt", {name: torch.ones(2)})
    (tmp_path / "t.csv").write_text(f'file,run,note\na.pt,"{name.replace(chr(0), "")}","{name}"\n', encoding="utf-8")
    import_zoo(open_source(tmp_path / "in", table=tmp_path / "t.csv"), tmp_path / "zoo")
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.read(zoo.rows).layout.tensors[0].name == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "t.csv", "zoo"]
    zoo.export(tmp_path / "out", "pt")
    assert facts(import_and_open(tmp_path / "out", tmp_path / "again")) == facts(zoo)


def import_and_open(folder: Path, out: Path) -> Zoo:
    imported(folder, out)
    return Zoo.open(out)


@pytest.mark.parametrize(
    "name", ["../secret.pt", "sub/../../secret.pt", "/secret.pt", '""', ".", "link.pt", "linked/secret.pt"]
)
def test_rows_22_31_and_32_a_table_does_not_lead_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    save(tmp_path / "secret.pt", state(1))
    (folder / "link.pt").symlink_to(tmp_path / "secret.pt")
    (folder / "linked").symlink_to(tmp_path)
    (tmp_path / "t.csv").write_text(f"file\na.pt\nz.pt\n{name}\n")
    with pytest.raises(
        BadInput, match=r"not a path inside the folder|is a link that leads out|are not there|is missing"
    ):
        import_zoo(open_source(folder, table=tmp_path / "t.csv"), tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("target", ["secret.pt", "secret", "nothing.pt", "in/loop.pt"])
def test_row_32_links_that_lead_out_are_refused(folder: Path, tmp_path: Path, target: str) -> None:
    save(tmp_path / "secret.pt", state(1))
    save(tmp_path / "secret" / "x.pt", state(1))
    name = "secret" if target == "secret" else "loop.pt"
    (folder / name).symlink_to(tmp_path / target)
    refused(folder, tmp_path / "zoo", name)


def test_row_32_links_inside_are_left_alone_unless_they_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "best.pt").symlink_to("a.pt")
    (folder / "all").symlink_to(".")
    assert open_source(folder).notes == ["links to what lies in the folder anyway are left alone: 2 (all, best.pt)"]
    assert imported(folder, tmp_path / "zoo").stored == 2
    (tmp_path / "t.csv").write_text("file\nbest.pt\n")
    source = open_source(folder, table=tmp_path / "t.csv", ignore_unmatched=True)
    assert import_zoo(source, tmp_path / "named").runs == {"best.pt"}


@pytest.mark.parametrize("linked", ["index.csv", "layouts.json"])
def test_row_32_links_to_tables_are_refused(tmp_path: Path, linked: str) -> None:
    zoo = import_and_open(make_runs(tmp_path / "in"), tmp_path / "zoo")
    zoo.export(tmp_path / "out")
    (tmp_path / "out" / linked).rename(tmp_path / linked)
    (tmp_path / "out" / linked).symlink_to(tmp_path / linked)
    with pytest.raises(ArtifactError, match=f"{linked} is a link that leads out"):
        imported(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize(
    "linked", ["t/result.json", "t/params.json", "t/checkpoint_000001", "t/checkpoint_000001/checkpoints", "t"]
)
def test_row_32_links_in_trials_are_refused(tmp_path: Path, linked: str) -> None:
    make_trial(tmp_path / "in" / "good", ["checkpoint_000001"], [{"training_iteration": 1}])
    make_trial(tmp_path / "in" / "t", ["checkpoint_000001", "checkpoint_000002"], [{"training_iteration": 1}])
    (tmp_path / "in" / linked).rename(tmp_path / "elsewhere")
    (tmp_path / "in" / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=f"{linked} is a link that leads out"):
        imported(tmp_path / "in", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
    report = imported(tmp_path / "in", tmp_path / "zoo", skip_bad=True)
    assert "good" in report.runs
    assert report.skipped


def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "m.pt")
    refused(folder, tmp_path / "zoo", "m.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_row_26_what_is_not_finite_is_quarantined(folder: Path, tmp_path: Path, value: float) -> None:
    bad = state(5)
    bad["0.weight"][1, 0] = value
    save(folder / "m.pt", bad)
    for _ in range(2):
        report = imported(folder, tmp_path / "zoo")
        assert [(entry.run, entry.step) for entry in report.quarantined] == [("m.pt", 0)]
        assert "tensor '0.weight' holds" in report.quarantined[0].reason
        assert Zoo.open(tmp_path / "zoo").segments == 1
    assert [row.run for row in Zoo.open(tmp_path / "zoo").rows] == ["a.pt", "z.pt"]
    save(folder / "m.pt", state(5))
    assert imported(folder, tmp_path / "zoo").stored == 1, "a file that was repaired is taken"


def test_row_26_a_cast_that_overflows_is_quarantined(tmp_path: Path) -> None:
    large = {name: value.double() * 1e300 for name, value in FORM.build(0).state_dict().items()}
    save(tmp_path / "in" / "a.pt", large)
    report = imported(tmp_path / "in", tmp_path / "zoo", architecture=FORM)
    assert report.casts == {"float64 -> float32": 4}
    assert "infinite values" in report.quarantined[0].reason


def test_row_26_gradual_nan_in_arrays(tmp_path: Path) -> None:
    values = make_arrays(tmp_path / "in")
    values[::2] = np.inf
    np.save(tmp_path / "in" / "weights.npy", values)
    assert len(imported(tmp_path / "in", tmp_path / "zoo").quarantined) == 3


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_row_27_what_is_no_float_is_refused(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    if (dtype, suffix) == (torch.complex64, "safetensors"):
        pytest.skip("safetensors as written here holds no complex numbers")
    folder = tmp_path / "in"
    write_checkpoint(folder / "a.pt", FORM.build(0).state_dict())
    bad = FORM.build(1).state_dict()
    bad["fc1.weight"] = bad["fc1.weight"].to(dtype)
    write_checkpoint(folder / f"m.{suffix}", bad)
    write_checkpoint(folder / "z.pt", FORM.build(2).state_dict())
    refused(folder, tmp_path / "zoo", f"m.{suffix}", architecture=FORM)


@pytest.mark.parametrize("change", [{"fc1.weight": torch.ones(2, 3)}, {"fc1.weight": None}, {"scale": torch.ones(1)}])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_row_28_misfits_are_refused_with_file_and_tensor(tmp_path: Path, change: dict[str, Any], suffix: str) -> None:
    folder = tmp_path / "in"
    for seed, name in enumerate(("a.pt", "z.pt")):
        write_checkpoint(folder / name, FORM.build(seed).state_dict())
    bad = {name: value for name, value in (FORM.build(3).state_dict() | change).items() if value is not None}
    write_checkpoint(folder / f"m.{suffix}", bad)
    with pytest.raises(BadInput, match=rf"m.{suffix}: tensor '{next(iter(change))}'"):
        imported(folder, tmp_path / "zoo", architecture=FORM)
    assert suffix == "pt" or not (tmp_path / "zoo").exists(), "a header tells it before anything is written"
    refused(folder, tmp_path / "zoo", f"m.{suffix}", architecture=FORM)


def test_all_bad_is_an_error_also_when_bad_ones_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.pt", "b.pt"):
        (tmp_path / "in" / name).write_bytes(b"garbage")
    with pytest.raises(BadInput, match="nothing can be imported"):
        imported(tmp_path / "in", tmp_path / "zoo", skip_bad=True)
    assert not (tmp_path / "zoo").exists()
    for name in ("a.pt", "b.pt"):  # of which only the checksums tell
        save(tmp_path / "in" / name, {"w": torch.full((8,), 0.123)})
        data = bytearray((tmp_path / "in" / name).read_bytes())
        data[data.index(struct.pack("<f", 0.123))] ^= 1
        (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(BadInput, match="checksum of"):
        imported(tmp_path / "in", tmp_path / "zoo", skip_bad=True)


def import_runs(folder: Path, out: Path) -> None:
    import_zoo(open_source(folder, pattern=PATTERN), out)


def import_through_kills(folder: Path, whole: Path, outs: Path, kills: int, longest: float) -> Count:
    """Import into one zoo after the other, each killed on its way as often as it happens, until there were `kills`.

    Each must end as `whole`. `amid`: kills that left a part of a zoo.
    """
    count, all_of_it, before = (
        Count("builds", "lost", "different", "leftovers"),
        len(Zoo.open(whole)),
        dict[Path, int](),
    )

    def amid(out: Path) -> bool:
        stands = len(Zoo.open(out)) if (out / "zoo.json").exists() else 0
        count["lost"] += max(0, before.get(out, 0) - stands)
        before[out] = stands
        return 0 < stands < all_of_it

    for out in ended_through_kills(partial(import_runs, folder), outs, count, kills, Moments(longest, kills), amid):
        count["different"] += facts(out) != facts(whole) or segments(out) != segments(whole)
        count["leftovers"] += len(list(out.rglob("*.tmp")))
        Zoo.open(out).verify()
        count["builds"] += 1
    return count


@pytest.mark.parametrize(("kills", "files"), [(20, 40), pytest.param(200, 400, marks=pytest.mark.slow)])
def test_row_1_kills_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, files: int) -> None:
    monkeypatch.setattr(batches, "ROWS", 2)
    folder, whole = make_runs(tmp_path / "in", runs=files // 4, steps=range(4)), tmp_path / "whole"
    for run in range(0, files // 4, 3):
        save(folder / f"run_{run}" / "epoch_3-acc0.9.pt", state(run, width=2))
        (folder / f"run_{run}" / f"epoch_3-acc0.3{run}.pt").unlink()
    bad = state(1)
    bad["0.bias"][0] = float("nan")
    save(folder / "run_1" / "epoch_1-acc0.11.pt", bad)
    started = time.perf_counter()
    import_runs(folder, whole)
    longest = (time.perf_counter() - started) / 3  # of this machine, so that kills fall all along
    count = import_through_kills(folder, whole, tmp_path / "killed", kills, longest)
    record("an import of checkpoints", count)
    assert not count.harm
    assert count["amid"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_4_a_signal_stops_and_says_how_to_resume(
    tmp_path: Path, program: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(batches, "ROWS", 1)
    folder, out = make_runs(tmp_path / "in", runs=5, steps=range(4)), tmp_path / "my zoo"
    arguments = ["zoo", "import", folder, "--out", out, "--pattern", PATTERN]
    child, pipe = start_program(*arguments, hold="1 networks stored")
    with os.fdopen(pipe) as stderr:
        said = next(line for line in stderr if "1 networks stored" in line)
        os.kill(child, number)
        said += stderr.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number, said
    assert f"interrupted by signal {int(number)}, state saved" in said
    assert "Traceback" not in said
    assert len(Zoo.open(out)) == 1
    command = shlex.split(said.partition("resume with: ")[2])
    assert command == ["weightsmith", *map(str, arguments)]
    done = program(*command[1:])
    assert done.returncode == 0, done.stderr
    assert len(Zoo.open(out)) == 20


def test_row_9_a_full_disk_keeps_what_is_stored(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightsmith.errors import EnvironmentFault

    monkeypatch.setattr(batches, "ROWS", 1)
    folder = tmp_path / "in"
    for seed in range(12):
        save(folder / f"{seed:02d}.pt", {"w": torch.full((40_000,), float(seed))})
    with pytest.raises(EnvironmentFault, match="free some disk space"):
        imported(folder, small_disk / "zoo")
    zoo = Zoo.open(small_disk / "zoo")
    zoo.verify()
    assert 0 < len(zoo) < 12


def test_row_10_the_output_is_a_file(folder: Path, tmp_path: Path) -> None:
    from weightsmith.errors import EnvironmentFault

    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(EnvironmentFault, match="is a file, not a folder"):
        imported(folder, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_row_11_a_second_import_is_told(folder: Path, tmp_path: Path) -> None:
    from weightsmith.errors import EnvironmentFault

    imported(folder, tmp_path / "zoo")
    with Zoo.writer(tmp_path / "zoo"):
        child, pipe = start(lambda: imported(folder, tmp_path / "zoo"))
        with os.fdopen(pipe) as stderr:
            said = stderr.read()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert EnvironmentFault.__name__ in said
    assert "another process is writing" in said
