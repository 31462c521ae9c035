"""report.html: one self-contained page, readable without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.files import write_bytes
from weightsmith.record import Record, read_records
from weightsmith.report import plots
from weightsmith.report.summary import Summary, summarise
from weightsmith.report.tables import Table, baseline_table, loss_table, step_table, training_table
from weightsmith.report.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:78rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.85rem}
.scroll{overflow-x:auto}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{border-bottom:2px solid #888;vertical-align:bottom;white-space:normal;min-width:4rem}
.verdict{background:#f4f1e8;border-left:4px solid #d55e00;padding:.5rem 1.2rem}
svg{max-width:100%;height:auto}dt{font-weight:600}dd{margin:0 0 .4rem 1.5rem}small,caption{color:#555}
pre{white-space:pre-wrap;background:#f6f6f6;padding:.7rem}
"""

DEFINITIONS = {
    "accuracy, loss": "share of test images classified rightly, in %; mean cross-entropy an image, in nats. ± is the "
    "standard deviation of the pipelines' means (inits of one pipeline are no independent repetitions).",
    "the note's loss": "the note's public code sums the cross-entropy over a batch of 256 test images, multiplies by "
    "the size of the batch once more and divides by the number of images: about 256 times the mean cross-entropy.",
    "nearest ckpt.": "distance 2|a-b|/(|a|+|b|) to the nearest checkpoint of the trajectory that the generator was "
    "trained on; here: ",
    "init dep.": "init_dependence: mean pairwise distance among the outputs for the unseen inits over that among "
    "independently trained networks. 0: the init does not matter; 1: as much as in ordinary training.",
    "function dep.": "function_dependence: the same ratio of the shares of test images on which predictions differ.",
    "splits": "networks are trained on `train`; the best checkpoint is chosen on `validation`, cut from it; `test` is "
    "only reported.",
}


def write_report(records: Path, page: Path, plot_folder: Path, name: str, headline: str) -> Summary:
    """Write the page and the PNG plots from a run's records alone. Raises `BadInput` when they are not complete."""
    found = read_records(records)
    summary = summarise(found)
    figures = _figures(found, summary)
    for title, figure in figures.items():
        write_bytes(plot_folder / f"{title}.png", plots.as_png(figure))
    write_bytes(page, _page(found, summary, name, headline, figures).encode())
    return summary


def _figures(records: Sequence[Record], summary: Summary) -> dict[str, Figure]:
    figures = {"steps": plots.steps_figure(summary)}
    for record in records:
        if record.kind == "histograms":
            figures["weights"] = plots.histograms_figure(record.details["layers"])
        if record.kind == "distance matrix":
            figures["distances"] = plots.distances_figure(record.details["labels"], record.details["matrix"])
    return figures


def _page(records: Sequence[Record], summary: Summary, name: str, headline: str, figures: dict[str, Figure]) -> str:
    where = summary.measured_on
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict(summary, headline))
    tables = (
        step_table(summary, headline),
        baseline_table(summary),
        loss_table(summary, headline),
        training_table(summary),
    )
    svgs = {title: f"<figure>{plots.as_svg(figure)}</figure>" for title, figure in figures.items()}
    meanings = DEFINITIONS | {"nearest ckpt.": DEFINITIONS["nearest ckpt."] + str(where["distance"]) + "."}
    definitions = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in meanings.items())
    model = summary.model
    environment = json.dumps(json.loads(records[0].environment), indent=1)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(name)} - weightsmith</title><style>{CSS}</style></head><body>
<h1>{html.escape(name)}</h1>
<p>Measured on the {where["images"]:,} test images of <b>{html.escape(str(where["dataset"]))}</b>
({html.escape(str(where["precision"]))}); {summary.pipelines} pipelines, {summary.inits} unseen inits each.
Generator: <b>{html.escape(model["generator"])}</b> on <b>{html.escape(model["codec"])}</b> tokens of
{model["token_dim"]:,} numbers, exact {html.escape(model["exactness"])}.</p>
<h2>Verdict</h2><div class="verdict">{sentences}</div>
<h2>Along the steps</h2>{_table(tables[0])}{svgs.pop("steps")}
<h2>Baselines</h2>{_table(tables[1])}
<h2>Loss</h2>{_table(tables[2])}
<h2>Training</h2>{_table(tables[3])}
<h2>Weights and distances</h2>{"".join(svgs.values())}
<h2>What the columns mean</h2><dl>{definitions}</dl>
<h2>How it was made</h2><pre>{html.escape(records[0].command)}
{html.escape(environment)}</pre>
</body></html>
"""


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
