"""Patterns and tables: what they state is read back, and nothing hostile takes long or gets far."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.zoo.cells import is_number, metric_to_text, read_number, run_from_text, run_to_text
from weightsmith.zoo.importing.sources import table as module
from weightsmith.zoo.importing.sources.pattern import Field, Pattern
from weightsmith.zoo.importing.sources.table import Table

MATCHES = [
    ("run_{run}/epoch_{step}-acc{acc}.pt", "run_7/epoch_12-acc0.95.pt", {"run": "7", "step": "12", "acc": "0.95"}),
    ("{name}-{step}.pt", "my-model-5.pt", {"name": "my-model", "step": "5"}),
    ("{a}-{b}.pt", "x-y-z.pt", {"a": "x", "b": "y-z"}),
    ("{_}/{_}/{run}.pt", "a/b/c.pt", {"run": "c"}),
    ("{{{run}}}.pt", "{5}.pt", {"run": "5"}),
    ("{run}.pt", "a/b.pt", None),
    ("{step}.pt", "5x.pt", None),
    ("{step}.pt", "\u0665.pt", None),
    ("a{run}", "a", None),
    ("a{run}b", "ab", None),
    ("{run}.pt", "x.pt.pt", {"run": "x.pt"}),
    ("a.b{run}", "axb1", None),
    ("({run}", "(1", {"run": "1"}),
    ("{run}", "x" * 1001, None),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
def test_patterns_match(pattern: str, name: str, expected: dict[str, str] | None) -> None:
    assert Pattern.parse(pattern).match(name) == expected


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "0 characters"),
        ("x" * 1001 + "{run}", "characters"),
        ("plain.pt", "no field"),
        ("{run", "'{' stands alone"),
        ("run}", "'}' stands alone"),
        ("{}", "has no name"),
        ("{a b}", "'a b' has no name"),
        ("{0}", "'0' has no name"),
        ("{run}{step}", "{run} and {step} touch"),
        ("{run}/{run}", "'run' stands in it twice"),
        ("{run!r}", "has no name"),
    ],
)
def test_bad_patterns_are_refused(pattern: str, problem: str) -> None:
    with pytest.raises(BadInput, match=re.escape(problem)):
        Pattern.parse(pattern)


LITERALS = st.text(st.sampled_from("ab-_./{}(*\\é"), min_size=1, max_size=4)
VALUES = st.text(st.sampled_from("abc01.-é "), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(LITERALS, min_size=2, max_size=5), st.lists(VALUES, min_size=4, max_size=4))
def test_what_is_filled_in_fits_again(literals: list[str], values: list[str]) -> None:
    fields = [f"f{i}" for i in range(len(literals) - 1)]
    escaped = [text.replace("{", "{{").replace("}", "}}") for text in literals]
    pattern = Pattern.parse(
        "".join(f"{text}{{{name}}}" for text, name in zip(escaped, fields, strict=False)) + escaped[-1]
    )
    name = "".join(text + value for text, value in zip(literals[:-1], values, strict=False)) + literals[-1]
    found = pattern.match(name)
    assert found is not None
    assert "".join(text + found[field] for text, field in zip(literals, fields, strict=False)) + literals[-1] == name


PIECES = st.lists(st.sampled_from(["{a}", "{step}", "{_}", "-", "a", ".", "/", "1"]), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(PIECES, st.text(st.sampled_from("a1-./"), max_size=8))
def test_a_match_is_what_a_regular_expression_would_find(pieces: list[str], name: str) -> None:
    try:
        pattern = Pattern.parse("".join(pieces))
    except BadInput:
        return
    forms = [
        re.escape(piece) if isinstance(piece, str) else "([0-9]+?)" if piece.name == "step" else "([^/]+?)"
        for piece in pattern.pieces
    ]
    expected = re.fullmatch("".join(forms), name)
    names = [piece.name for piece in pattern.pieces if isinstance(piece, Field)]
    wanted = None
    if expected is not None:
        wanted = {key: value for key, value in zip(names, expected.groups(), strict=True) if key != "_"}
    assert pattern.match(name) == wanted


def test_no_name_keeps_a_pattern_busy() -> None:
    pattern = Pattern.parse("-".join(f"{{f{i}}}" for i in range(12)) + ".pt")
    started = time.process_time()
    for _ in range(20):
        assert pattern.match("-" * 900) is None
    assert time.process_time() - started < 2


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1) | st.text())
def test_runs_come_back_from_their_text(run: int | str) -> None:
    text = run_to_text(run)
    assert run_from_text(text) == run
    assert type(run_from_text(text)) is type(run)
    assert text.isprintable() and text.strip() == text != ""  # noqa: PT018


@pytest.mark.parametrize("value", [1, -1.5, 1e-300, True, None, 2**62])
def test_metrics_are_json(value: float | None) -> None:
    assert metric_to_text(value) == {"True": "true", "None": "null"}.get(repr(value), repr(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-007", -7), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("nan", None), ("-Inf", None), ("1e999", None),
     ("9" * 19, float("9" * 19)), ("9" * 30, float("9" * 30))],
)  # fmt: skip
def test_numbers_are_decimal(text: str, value: float | None) -> None:
    assert is_number(text)
    assert read_number(text) == value


@pytest.mark.parametrize("text", ["", "1_000", "0x1", "\u0665", "1 2", "e5", "--1", "1e", "true", " 1"])
def test_other_text_is_no_number(text: str) -> None:
    assert not is_number(text)


CELLS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("abcé", min_size=1, max_size=3), min_size=1, max_size=4, unique=True), st.data())
def test_any_csv_states_what_it_was_written_with(columns: list[str], data: st.DataObject) -> None:
    row = st.lists(CELLS, min_size=len(columns), max_size=len(columns))
    rows = data.draw(st.lists(row, max_size=4))
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        table = Table.open(path)
        assert table.columns == tuple(columns)
        assert [list(line.cells.values()) for line in table] == [[cell.strip() for cell in row] for row in rows]
        for line in table:
            table.facts(line, besides=())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_read_or_refused_and_nothing_else(data: bytes, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("t.csv.gz" if zipped else "t.csv")
        path.write_bytes(data)
        try:
            for line in Table.open(path):
                assert line.cells
        except BadInput:
            return


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,a\n", "two columns 'a'"),
        (b"a,b\x01\n", "has a column"),
        (b"a,b\n1\n", "line 2 has 1 cells, and 2 columns"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells"),
        (b'a\n"1\n', "is not CSV"),
        (b"a\n\xff\n", "not UTF-8"),
        (b"a\n" + b"x" * 300_000, "a line of more than 200,000 characters"),
        (b"a\n" + b"x" * 150_000, "is not CSV: field larger"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: bytes, problem: str) -> None:
    for name, data in (("t.csv", text), ("t.csv.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput, match=problem):
            Table.open(tmp_path / name)


def test_kinds_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffn,t,x,e,,m\n1,true,a,,0,1\n,False,2,,0,true\nnan,,b,,0,\n")
    table = Table.open(path)
    kinds = {"n": "number", "t": "truth", "x": "text", "e": "empty", "m": "text"}
    assert (table.columns, table.kinds, table.count) == (tuple(kinds), kinds, 3)
    assert [table.facts(line, besides=["m"]) for line in table] == [
        ({"n": 1}, {"t": True, "x": "a"}), ({"n": None}, {"t": False, "x": "2"}), ({"n": None}, {"x": "b"})
    ]  # fmt: skip


def test_a_table_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000_000))
    assert path.stat().st_size < 50_000
    with pytest.raises(ArtifactError, match="more than 1,000,000 bytes"):
        Table.open(path)
    with pytest.raises(ArtifactError, match="more than 10 lines"):
        Table.open(path, most=10)
