"""The report from made-up records, whose means and verdicts are known."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from weightsmith.errors import ArtifactError, BadInput
from weightsmith.hashed import HashedLog
from weightsmith.record import Record, read_records
from weightsmith.report.table import as_text
from weightsmith.report.trajectory import summarise, write_report
from weightsmith.report.trajectory.tables import baseline_table, step_table
from weightsmith.report.trajectory.verdict import MEAN_BASELINE, depends_on_init, headline_numbers, verdict

ON = {"dataset": "mnist", "split": "test", "images": 10_000, "fingerprint": "f", "precision": "fp32", "distance": "d"}


MODEL = {"codec": "flat", "exactness": "everywhere", "generator": "transition", "token_dim": 421_642}


def record(kind: str, subject: dict[str, Any], metrics: dict[str, Any], **details: Any) -> Record:
    return Record(kind, subject, ON, metrics, "weightsmith run <test>", '{"torch":"x"}', details)


def performance(accuracy: float, **others: float | None) -> dict[str, float | None]:
    return {"accuracy": accuracy, "loss": 1 - accuracy, "note_loss": 256 * (1 - accuracy), **others}


def records(dependence: float | None = 0.01, nearest: float = 0.001) -> list[Record]:
    """Two pipelines, two inits, two steps; accuracies .90 and .92 after one step, .96 and .98 after two."""
    found = [record("independent", {"networks": 3}, {"distance": 1.0, "disagreement": 0.02}, parameters=421_642)]
    for run in range(2):
        for step in range(3):
            metrics = performance(0.1 + 0.4 * step, nearest_other_run_distance=1.0)
            found.append(record("original", {"run": run, "step": step, "sha256": ""}, metrics, validation={}))
        found.append(
            record(
                "baseline",
                {"pipeline": run, "name": MEAN_BASELINE},
                performance(0.97, nearest_checkpoint_distance=0.1),
                note="all",
            )
        )
        where = {"pipeline": run, "budget": "note"}
        training = {"loss": 0.1, "loss_of_the_mean": 1.0, "seconds": 2.0, "updates": 10, "epochs": 5}
        found.append(record("training", where, training, **MODEL))
        for step, (low, high) in enumerate([(0.08, 0.12), (0.90, 0.92), (0.96, 0.98)]):
            where = {"pipeline": run, "budget": "note" if step else None, "step": step}
            for init, accuracy in enumerate((low, high)):
                metrics = performance(accuracy, nearest_checkpoint_distance=nearest, nearest_checkpoint_step=step)
                found.append(record("generated" if step else "init", {**where, "init": init}, metrics))
            ratios = {"init_dependence": dependence, "function_dependence": dependence}
            found.append(record("dependence", where, {**ratios, "distance": 0.1, "disagreement": 0.0}, inits=2))
    matrix = {"labels": ["a", "b & c"], "matrix": [[0.0, 1.0], [1.0, 0.0]]}
    found.append(record("distance matrix", {"pipeline": 0}, {}, **matrix))
    layers = {"fc.weight": {"edges": [-1.0, 0.0, 1.0], "density": {"random": [0.5, 0.5], "trained": [0.1, 0.9]}}}
    found.append(record("histograms", {"pipeline": 0}, {}, layers=layers))
    return found


def test_means_and_deviations_are_over_inits_and_pipelines() -> None:
    summary = summarise(records())
    row = summary.step("note", 1)
    assert row is not None
    assert row["accuracy_mean"] == pytest.approx(0.91)
    assert row["accuracy_std"] == pytest.approx(0.011547, abs=1e-5)
    assert (row["networks"], summary.inits, summary.pipelines, summary.last_step) == (4, 2, 2, 2)
    assert summary.comparable_to_note
    start = summary.step("note", 0)
    assert start is not None
    assert start["accuracy_mean"] == pytest.approx(0.10)


def test_the_rows_of_the_json_hold_what_was_promised() -> None:
    rows = summarise(records()).rows()
    generated = [row for row in rows if row["row"] == "generated"]
    wanted = {"step", "accuracy_mean", "accuracy_std", "loss_mean", "nearest_checkpoint_distance"}
    assert all(wanted | {"init_dependence", "function_dependence"} <= row.keys() for row in generated)
    assert {row["row"] for row in rows} >= {"generated", "baseline", "original"}


def test_the_headline_numbers() -> None:
    numbers = headline_numbers(summarise(records()), "note")
    assert numbers["step1_accuracy"] == pytest.approx(0.91)
    assert numbers["step2_accuracy"] == pytest.approx(0.97)
    assert numbers["mean_of_checkpoints_accuracy"] == pytest.approx(0.97)
    assert numbers["depends_on_init"] is False


@pytest.mark.parametrize(
    ("dependence", "nearest", "says", "silent"),
    [
        (0.01, 0.001, ["hardly depends", "replays", "lies among the training checkpoints"], ["constant answer"]),
        (0.01, 0.1, ["hardly depends", "stays near its training checkpoints"], ["replays"]),
        (0.01, 0.9, ["hardly depends", "constant answer"], ["replays", "stays near", "lies among"]),
        (0.9, 0.9, ["What comes out depends on the init", "whether they are new"], ["hardly", "constant"]),
        (None, 0.9, ["could not be measured", "nothing is claimed"], ["hardly depends"]),
    ],
)
def test_the_verdict_follows_the_numbers(
    dependence: float | None, nearest: float, says: list[str], silent: list[str]
) -> None:
    text = " ".join(verdict(summarise(records(dependence, nearest)), "note"))
    for phrase in says:
        assert phrase in text
    for phrase in silent:
        assert phrase not in text


def test_networks_that_are_not_finite_are_counted_and_not_averaged() -> None:
    found = records()
    broken = next(i for i, r in enumerate(found) if r.kind == "generated" and r.subject["step"] == 2)
    none = dict.fromkeys(found[broken].metrics)
    found[broken] = record("generated", dict(found[broken].subject), none)
    summary = summarise(found)
    row = summary.step("note", 2)
    assert row is not None
    assert row["accuracy_mean"] == pytest.approx((0.96 + 0.98 + 0.98) / 3)
    assert row["not_finite"] == 1
    assert "1 of its 8 networks are not finite" in " ".join(verdict(summary, "note"))


def test_a_table_without_any_accuracy_shows_a_dash(tmp_path: Path) -> None:
    found = [
        record(r.kind, dict(r.subject), dict.fromkeys(r.metrics), **r.details) if r.kind == "generated" else r
        for r in records()
    ]
    log = HashedLog(tmp_path / "records.jsonl")
    log.append([r.to_json() for r in found])
    write_report(log.path, tmp_path / "report.html", tmp_path / "plots", "x", "note")
    summary = summarise(read_records(log.path))
    assert "between - and -" in " ".join(verdict(summary, "note"))


def test_a_missing_dependence_is_not_independence() -> None:
    assert depends_on_init(summarise(records(None)), "note") is None


def test_tables_are_aligned_text() -> None:
    text = as_text(step_table(summarise(records()), "note"))
    lines = text.splitlines()
    assert "91.00 ± 0.00" in text
    assert "98.96" in text  # the note's own figure beside it
    assert max(map(len, lines)) < 120
    assert "97.00" in as_text(baseline_table(summarise(records())))


def test_incomplete_records_are_refused() -> None:
    with pytest.raises(BadInput, match="no complete evaluation"):
        summarise([r for r in records() if r.kind != "generated"])


class Page(HTMLParser):
    """Counts what matters of a page, and collects every address in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_page_is_complete_and_needs_no_network(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "records.jsonl")
    log.append([r.to_json() for r in records()])
    write_report(log.path, tmp_path / "report.html", tmp_path / "plots", "a <name>", "note")
    text = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.tags["svg"] == 3
    assert page.tags["table"] == 4
    assert "script" not in page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\((?!#)", text)
    assert "a &lt;name&gt;" in text
    assert "weightsmith run &lt;test&gt;" in text
    for name in ("steps", "weights", "distances"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_equal_records_give_equal_pages(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "records.jsonl")
    log.append([r.to_json() for r in records()])
    pages = []
    for name in ("one", "two"):
        write_report(log.path, tmp_path / f"{name}.html", tmp_path / name, "x", "note")
        pages.append((tmp_path / f"{name}.html").read_bytes())
    assert pages[0] == pages[1]


def test_damaged_records_make_no_report(tmp_path: Path) -> None:
    log = HashedLog(tmp_path / "records.jsonl")
    log.append([r.to_json() for r in records()])
    data = log.path.read_bytes()
    for damaged in (data[:-1], data.replace(b"0.92", b"0.99", 1)):
        log.path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            read_records(log.path)
