from __future__ import annotations

from pathlib import Path

import pytest

from weightsmith.errors import ArtifactError, BadInput, Interrupted
from weightsmith.files import replacing_folder
from weightsmith.hashed import HashedLog, fingerprint, read_sealed_json, write_sealed_json
from weightsmith.seeds import derive_seed


def test_a_sealed_document_round_trips(tmp_path: Path) -> None:
    document = {"b": [1, 2.5, None], "a": "ü"}
    write_sealed_json(tmp_path / "x.json", document)
    assert read_sealed_json(tmp_path / "x.json") == document


def test_a_log_keeps_its_records_in_order(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "x.jsonl")
    heads = [log.append([{"i": i}]) for i in range(3)]
    found = HashedLog(tmp_path / "x.jsonl").read()
    assert [record["i"] for record in found.records] == [0, 1, 2]
    assert found.head == heads[-1]
    assert len(set(heads)) == 3


def test_a_line_out_of_order_is_refused(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "x.jsonl")
    log.append([{"i": i} for i in range(3)])
    lines = log.path.read_text().splitlines(keepends=True)
    for changed in (lines[1:], [lines[1], lines[0], lines[2]], [lines[0], lines[2]], [*lines, lines[2]]):
        log.path.write_text("".join(changed))
        with pytest.raises(ArtifactError, match="line"):
            HashedLog(log.path).read()


def test_a_torn_line_is_reported_and_then_replaced(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "x.jsonl")
    log.append([{"i": 0}, {"i": 1}])
    log.path.write_bytes(log.path.read_bytes()[:-5])
    again = HashedLog(log.path)
    found = again.read()
    assert found.torn
    assert found.records == [{"i": 0}]
    again.append([{"i": 2}])
    assert [record["i"] for record in HashedLog(log.path).read().records] == [0, 2]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def broken() -> None:
        with replacing_folder(tmp_path / "out") as temporary:
            (temporary / "a").write_text("a")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        broken()
    assert list(tmp_path.iterdir()) == []
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_fingerprints_do_not_depend_on_key_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (BadInput("what", "remedy"), Interrupted(15)):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.exit_status) == (str(error), error.exit_status)
    assert Interrupted(15).exit_status == 143


def test_seeds_differ_by_purpose_and_not_by_order() -> None:
    seeds = [derive_seed(0, "a", 1), derive_seed(0, "a", 2), derive_seed(1, "a", 1), derive_seed(0, "b", 1)]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "a", 1) == seeds[0]
