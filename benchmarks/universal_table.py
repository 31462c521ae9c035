"""The tables of docs/experiments/universal.md, written from the last result of `benchmarks.universal`."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.universal.headline import OF_VARIANTS
from weightsmith.architectures.families import COMBINATIONS

PAGE = Path("docs/experiments/universal.md")
BEGIN, END = "<!-- tables: python -m benchmarks.universal_table -->", "<!-- end of tables -->"
Row = dict[str, Any]
SPLITS = {
    "training": "as trained on",
    "unseen_size": "unseen size",
    "beyond": "beyond the range",
    "unseen_combination": "unseen combination",
    "held_out_family": "held-out family",
}
# Key, what is at least (+) or at most (-) to be reached, where the issue says so.
BARS = {
    "unseen_size_median": ">= 0.975",
    "unseen_size_p05": ">= 0.96",
    "unseen_combination_median": ">= 0.965",
    "unseen_combination_p05": ">= 0.92",
    "held_out_family_median": ">= 0.92",
    "held_out_family_p05": ">= 0.75",
    "error_overlap": "at most 0.15 above the next",
    "start_conditioned_accuracy": ">= 0.988",
    "init_dependence": ">= 0.9",
    "function_dependence": ">= 0.8",
    "start_affinity": "aim < 0.95",
    "seconds_per_network": "<= 1",
    "finetune_epoch_ratio": ">= 3",
    "training_peak_rss_mb": "<= 8000",
}
# Of other generators, those that stand in every table; `full` is synthesis, trained for as long as they were.
METHODS = (
    "synthesis",
    "full",
    "ghn",
    "flow",
    "both",
    "random_init",
    "ridge_head",
    "nearest_zoo",
    "one_epoch",
    "converged",
)


def tables(document: dict[str, Any]) -> str:
    """Every table, as Markdown."""
    rows = document["rows"]
    makers = (_splits, _families, _combinations, _others, _overlap, _speed, _finetune, _start, _training)
    return "\n\n".join([_headline(document["headline"]), *filter(None, (make(rows) for make in makers))])


def _headline(headline: dict[str, Any]) -> str:
    body = [(f"`{key}`", BARS.get(key, ""), _number(value)) for key, value in headline.items()]
    return f"**What was to be reached, and was.**\n\n{_markdown(('key', 'bar', 'measured'), body)}"


def _splits(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["kind"] == "summary" and row["family"] is None]
    parts = []
    for split, words in SPLITS.items():
        head = ("weights by", "networks", "median %", "p05 %", "worst %", "median % with statistics as generated")
        body = [_summary(row["method"], row) for row in _ordered(found, split)]
        parts.append(f"**Test accuracy, {words}.**\n\n{_markdown(head, body)}" if body else "")
    return "\n\n".join(filter(None, parts))


def _families(rows: Sequence[Row]) -> str:
    head = ("split", "family", "weights by", "networks", "median %", "p05 %", "worst %", "median % as generated")
    found = [row for row in rows if row["kind"] == "summary" and row["family"] is not None]
    body = []
    for split, words in SPLITS.items():
        ours = _ordered(found, split)
        for family in sorted({row["family"] for row in ours}):
            of = [row for row in ours if row["family"] == family]
            body += [(words, family, *_summary(row["method"], row)) for row in of]
    return f"**The same by family.**\n\n{_markdown(head, body)}" if body else ""


def _combinations(rows: Sequence[Row]) -> str:
    """Unseen combinations one by one; a network may hold several."""
    found = [row for row in rows if row["kind"] == "accuracy" and row["method"] == "synthesis" and "options" in row]
    body = []
    for family, together in COMBINATIONS:
        held = [
            row["accuracy"]
            for row in found
            if (row["split"], row["family"]) == ("unseen_combination", family)
            and together.items() <= row["options"].items()
        ]
        if held:
            words = ", ".join(f"{key} {value}" for key, value in together.items())
            body.append((family, words, str(len(held)), _percent(statistics.median(held)), _percent(min(held))))
    head = ("family", "together", "networks", "median %", "worst %")
    return f"**Unseen combinations one by one.**\n\n{_markdown(head, body)}" if body else ""


def _others(rows: Sequence[Row]) -> str:
    found = {(row["method"], row["split"]): row for row in rows if row["kind"] == "summary" and row["family"] is None}
    head = ("generator", "minutes", "updates", "parameters", *(SPLITS[split] for split in OF_VARIANTS))
    body = [
        (
            row["generator"],
            *(_number(row.get(key)) for key in ("minutes", "updates", "parameters")),
            *(_median_and_p05(found.get((row["generator"], split))) for split in OF_VARIANTS),
        )
        for row in rows
        if row["kind"] == "other generator"
    ]
    title = "**Generators trained for the same minutes on one core** (median and 5th percentile of test accuracies, %)."
    return f"{title}\n\n{_markdown(head, body)}" if body else ""


def _median_and_p05(row: Row | None) -> str:
    return "-" if row is None else f"{_percent(row['median'])}, {_percent(row['p05'])}"


def _overlap(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["kind"] == "overlap"]
    head = (
        "architectures",
        "two samples",
        "two trained networks",
        "samples' accuracy %",
        "trained accuracy %",
        "cosine",
    )
    if not found:
        return ""
    ours, theirs = ([value for row in found for value in row[key]] for key in ("accuracies", "independent_accuracies"))
    line = (
        str(len(found)),
        *(_number(statistics.median(row[key] for row in found)) for key in ("overlap", "independent_overlap")),
        *(_percent(statistics.median(values)) for values in (ours, theirs)),
        _number(statistics.median(row["cosine"] for row in found)),
    )
    return f"**Overlap of errors** (medians; unseen sizes).\n\n{_markdown(head, [line])}"


def _speed(rows: Sequence[Row]) -> str:
    body = [
        (f"{row['network']}, {row['parameters']:,} parameters", str(row["threads"]), *_seconds(row))
        for row in rows
        if row["kind"] == "speed"
    ]
    body += [
        (f"tracing, {row['networks']} architectures", "1", *_seconds(row)) for row in rows if row["kind"] == "tracing"
    ]
    return f"**Seconds.**\n\n{_markdown(('what', 'threads', 'median', 'all'), body)}" if body else ""


def _finetune(rows: Sequence[Row]) -> str:
    head = ("accuracy of a random init after", "Adam at", "architectures", "median ratio", "geometric mean", "least")
    body = [
        (
            f"{row['target']} epochs",
            "1e-3" if row["rates"] == "one rate" else "the best of three rates for each",
            str(row["networks"]),
            *(_number(row[key]) for key in ("median", "geometric_mean", "min")),
        )
        for row in rows
        if row["kind"] == "finetune summary"
    ]
    return f"**Epochs from a random init over epochs from synthesis.**\n\n{_markdown(head, body)}" if body else ""


def _start(rows: Sequence[Row]) -> str:
    trained = [row["accuracy"] for row in rows if row["kind"] == "trained from init"]
    body = []
    for row in rows:
        if row["kind"] == "start":
            body += [
                ("accuracy of the outputs, mean %", _percent(row["accuracy"])),
                ("worst of them %", _percent(row["worst_accuracy"])),
                ("accuracy of training from these inits %", _percent(statistics.fmean(trained)) if trained else "-"),
                ("init dependence", _number(row["init_dependence"])),
                ("function dependence", _number(row["function_dependence"])),
                ("start affinity (95 % interval)", _interval(row, "start_affinity")),
                ("the same, units not aligned", _interval(row, "unaligned_start_affinity")),
            ]
    return f"**From unseen inits, the 421,642-parameter CNN.**\n\n{_markdown(('what', ''), body)}" if body else ""


def _training(rows: Sequence[Row]) -> str:
    body = [
        (key.replace("_", " "), value if isinstance(value, str) else _number(value))
        for row in rows
        if row["kind"] == "training"
        for key, value in row.items()
        if key not in ("kind", "generator")
    ]
    return f"**The training of what is measured.**\n\n{_markdown(('what', ''), body)}" if body else ""


def _ordered(rows: Sequence[Row], split: str) -> list[Row]:
    known = {method: i for i, method in enumerate(METHODS)}
    found = [row for row in rows if row["split"] == split and row["method"] in known]
    return sorted(found, key=lambda row: known[row["method"]])


def _summary(name: str, row: Row) -> tuple[str, ...]:
    figures = (_percent(row[key]) for key in ("median", "p05", "min"))
    return (name.replace("_", " "), str(row["networks"]), *figures, _percent(row.get("as_generated_median")))


def _seconds(row: Row) -> tuple[str, str]:
    return f"{row['median']:.3f}", f"{min(row['all']):.3f} to {max(row['all']):.3f}"


def _interval(row: Row, name: str) -> str:
    return f"{row[name]:.4f} ({row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_tables(page: str, document: dict[str, Any]) -> str:
    """The page with its tables written anew."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    return re.sub(pattern, lambda _: f"{BEGIN}\n\n{tables(document)}\n\n{END}", page, flags=re.DOTALL)


def main() -> None:
    document = json.loads((RESULTS / "universal.json").read_text(encoding="utf-8"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
