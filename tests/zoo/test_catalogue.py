"""The catalogue: conditions select the rows that Python would, and can do nothing else."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.errors import BadInput
from weightsmith.zoo.catalogue import Catalogue
from weightsmith.zoo.rows import Row


def rows(number: int = 60) -> list[Row]:
    random.seed(0)
    made = []
    for index in range(number):
        metrics: dict[str, float | None] = {"accuracy": random.random(), "Loss": None if index % 7 == 0 else index / 3}
        if index % 5 == 0:
            metrics |= {"step": 1.0, "a b": 2.0, 'say "x"': 3.0, "select": 4.0}
        run = index // 6 if index < 30 else f"run '{index // 6}'"
        made.append(Row(index, run, index % 6, 2**63 - 1 - index, metrics, {}, f"{index:064x}", "s", index, "l"))
    return made


ROWS = rows()
CATALOGUE = Catalogue(ROWS)

CONDITIONS = {
    "accuracy > 0.5 and step = 5": lambda row: row.metrics["accuracy"] > 0.5 and row.step == 5,
    "ACCURACY > 0.5": lambda row: row.metrics["accuracy"] > 0.5,
    "loss is null": lambda row: row.metrics["Loss"] is None,
    "loss > 3": lambda row: (row.metrics["Loss"] or 0) > 3,
    "run = 3": lambda row: row.run == 3,
    "run = '3'": lambda row: False,
    "run = 'run ''7'''": lambda row: row.run == "run '7'",
    "run like 'run%'": lambda row: isinstance(row.run, str),
    "typeof(run) = 'integer'": lambda row: isinstance(row.run, int),
    "row in (3, 5) or row between 7 and 8": lambda row: row.index in (3, 5, 7, 8),
    "abs(round(accuracy)) = 1": lambda row: row.metrics["accuracy"] >= 0.5,
    '"a b" = 2': lambda row: "a b" in row.metrics,
    '"metrics.step" = 1': lambda row: "step" in row.metrics,
    '"say ""x""" = 3': lambda row: "a b" in row.metrics,
    '"select" = 4': lambda row: "a b" in row.metrics,
    "seed = 9223372036854775807": lambda row: row.index == 0,
    "1": lambda row: True,
    "0": lambda row: False,
    "step = 5 -- a remark": lambda row: row.step == 5,
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_condition_selects_what_python_would(where: str) -> None:
    assert CATALOGUE.find(where) == [row.index for row in ROWS if CONDITIONS[where](row)]


REFUSED = [
    "",
    "acuracy > 0.5",
    '"acuracy" > 0.5',
    "run = \"run '7'\"",
    "accuracy >",
    "accuracy > ?",
    "accuracy > :x",
    "1) UNION SELECT (1",
    "step = (SELECT max(step) FROM networks)",
    "exists (SELECT 1)",
    "1; DROP TABLE networks",
    "1); DROP TABLE networks; --",
    "1); ATTACH DATABASE 'x' AS y; --",
    "1); PRAGMA query_only = OFF; --",
    "load_extension('x')",
    "readfile('x')",
    "randomblob(1000000000) = 1",
    "zeroblob(1000000000) = 1",
    "printf('%1000000000d', 1) = ''",
    "count(*) > 1",
    "random() > 0",
    "sqlite_version() = ''",
    "run = \0",
    "run = '\ud800'",
    "(" * 5000,
    "run = '" + "x" * 2_000_000 + "'",
    "/* open",
    "sqlite_master.name = ''",
]


@pytest.mark.parametrize("where", REFUSED, ids=range(len(REFUSED)))
def test_anything_else_is_refused_naming_the_columns(where: str) -> None:
    with pytest.raises(BadInput, match=r"(?s)cannot be used.*columns: row, run, step, seed.*accuracy"):
        CATALOGUE.find(where)
    assert len(CATALOGUE.find("1")) == len(ROWS)


FRAGMENTS = st.sampled_from(
    ["accuracy", "run", "step", "'x'", '"', "'", "(", ")", "--", "/*", "*/", ";", "=", ">", "1", " ", "SELECT", "FROM",
     "networks", "UNION", "LIMIT", "GROUP BY", "ORDER BY", "ATTACH", "DELETE", "\n", "NULL", ",", "abs"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS | st.text(max_size=3), max_size=12).map(" ".join))
def test_any_text_selects_rows_or_is_refused(where: str) -> None:
    try:
        found = CATALOGUE.find(where)
    except BadInput:
        return
    assert set(found) <= set(range(len(ROWS)))


def test_nothing_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for where in REFUSED:
        with pytest.raises(BadInput):
            CATALOGUE.find(where)
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_differ_by_case_get_columns_of_their_own() -> None:
    metrics: dict[str, float | None] = {"A": 1.0, "a": 2.0, "RUN": 3.0, "metrics.a": 4.0}
    catalogue = Catalogue([Row(0, 0, 0, 0, metrics, {}, "", "", 0, "")])
    assert catalogue.columns[7:] == ("A", "metrics.a", "metrics.RUN", "metrics.metrics.a")
    assert catalogue.find('A = 1 and "metrics.a" = 2 and "metrics.RUN" = 3 and "metrics.metrics.a" = 4') == [0]


def test_an_empty_zoo_selects_nothing() -> None:
    assert Catalogue([]).find("step = 1") == []
    with pytest.raises(BadInput, match="columns: row, run"):
        Catalogue([]).find("accuracy = 1")


def test_more_metrics_than_a_table_holds_are_refused() -> None:
    metrics: dict[str, float | None] = {f"m{i}": 1.0 for i in range(3000)}
    with pytest.raises(BadInput, match=r"3000 different metrics(.|\n)*remedy"):
        Catalogue([Row(0, 0, 0, 0, metrics, {}, "", "", 0, "")])


def test_many_rows_are_fast() -> None:
    started = time.process_time()  # which does not count what other processes do
    catalogue = Catalogue(rows(20_000))
    assert 0 < len(catalogue.find("accuracy > 0.5 and step = 5")) < 4_000
    assert time.process_time() - started < 5


def test_plain_values_in_extra_are_columns() -> None:
    extras: list[dict[str, object]] = [
        {"optimizer": "adam", "learning_rate": 0.001, "good": True, "tags": ["a"], "layers": {"n": 2}, "none": None},
        {"optimizer": "sgd", "learning_rate": 0.1, "good": False, "big": 2**80, "huge": 10**400, "\n": 1, "": 2},
        {},
    ]
    catalogue = Catalogue([Row(i, i, 0, 0, {}, extra, "", "", 0, "") for i, extra in enumerate(extras)])
    assert catalogue.columns[7:] == ("optimizer", "learning_rate", "good", "big", "huge")
    assert catalogue.find("optimizer = 'adam' and learning_rate < 0.01") == [0]
    assert catalogue.find("good") == [0]
    assert catalogue.find("not good") == [1]
    assert catalogue.find("optimizer is null") == [2]
    assert catalogue.find("big > 1e20") == [1]
    assert catalogue.find("huge is null") == [0, 1, 2]


def test_own_columns_win_over_metrics_and_these_over_extra() -> None:
    extra = {"RUN": "x", "accuracy": "high", "Accuracy": "higher", "metrics.step": "text", "plain": 1}
    catalogue = Catalogue([Row(0, 5, 0, 0, {"accuracy": 0.5, "step": 7.0}, extra, "", "", 0, "")])
    assert catalogue.columns[7:] == (
        *("accuracy", "metrics.step", "extra.RUN", "extra.accuracy", "extra.extra.Accuracy"),
        *("extra.metrics.step", "plain"),
    )
    assert catalogue.find('run = 5 and accuracy = 0.5 and "metrics.step" = 7 and "extra.RUN" = \'x\' and plain') == [0]
    assert catalogue.find("\"extra.accuracy\" = 'high' and \"extra.extra.Accuracy\" = 'higher'") == [0]


def test_more_entries_than_a_table_holds_are_said_to_be_left_out() -> None:
    extra = {f"e{i}": i for i in range(3000)}
    catalogue = Catalogue([Row(0, 0, 0, 0, {"accuracy": 1.0}, extra, "", "", 0, "")])
    assert catalogue.find("accuracy = 1 and e0 = 0 and e1898 = 1898") == [0]
    with pytest.raises(BadInput, match="1101 entries of extra, such as 'e1899', have no column"):
        catalogue.find("e1899 = 1899")
