"""The page of a trajectory experiment."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.interfaces import said
from weightsmith.record import Record, read_records
from weightsmith.report.figures import histograms_figure
from weightsmith.report.page import Page, Section
from weightsmith.report.trajectory.figures import distances_figure, steps_figure
from weightsmith.report.trajectory.summary import Summary, summarise
from weightsmith.report.trajectory.tables import baseline_table, loss_table, step_table, training_table
from weightsmith.report.trajectory.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def write_report(records: Path, page: Path, plots: Path, name: str, headline: str) -> None:
    """Write the page and the PNG plots from a run's records alone. Raises `BadInput` when they are not complete."""
    found = read_records(records)
    summary = summarise(found)
    sections = (
        Section("Along the steps", [step_table(summary, headline)], {"steps": steps_figure(summary)}),
        Section("Baselines", [baseline_table(summary)]),
        Section("Loss", [loss_table(summary, headline)]),
        Section("Training", [training_table(summary)]),
        Section("Weights and distances", (), _pictures(found)),
    )
    meanings = DEFINITIONS | {"nearest ckpt.": f"{DEFINITIONS['nearest ckpt.']}{summary.measured_on['distance']}."}
    Page(name, _introduction(summary), verdict(summary, headline), sections, meanings, found[0]).write(page, plots)


def _pictures(records: Sequence[Record]) -> dict[str, Figure]:
    figures = {}
    for record in records:
        if record.kind == "histograms":
            figures["weights"] = histograms_figure(record.details["layers"])
        if record.kind == "distance matrix":
            figures["distances"] = distances_figure(record.details["labels"], record.details["matrix"])
    return figures


def _introduction(summary: Summary) -> str:
    where, model = summary.measured_on, summary.model
    return f"""<p>Measured on the {where["images"]:,} test images of <b>{html.escape(str(where["dataset"]))}</b>
({html.escape(str(where["precision"]))}); {summary.pipelines} pipelines, {summary.inits} unseen inits each.
Generator: <b>{html.escape(model["generator"])}</b> on <b>{html.escape(model["codec"])}</b> tokens of
{model["token_dim"]:,} numbers; {html.escape(said(model["exactness"]))}.</p>"""
