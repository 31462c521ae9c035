"""The page of a population experiment."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from weightsmith.interfaces import said
from weightsmith.record import read_records
from weightsmith.report.figures import histograms_figure
from weightsmith.report.page import Page, Section
from weightsmith.report.population.figures import audit_figure, wanted_figure
from weightsmith.report.population.summary import Summary, summarise
from weightsmith.report.population.tables import given_table, sets_table, training_table
from weightsmith.report.population.verdict import verdict

DEFINITIONS = {
    "networks": "training: those that the generator learned from. Held out: of runs that it never saw. Reconstructed: "
    "held-out ones, encoded and decoded, which is the best that its codec allows. Baselines need no generator.",
    "accuracy, loss": "share of test images classified rightly, in %, ± the standard deviation among the networks; "
    "mean cross-entropy an image, in nats. No sample is selected.",
    "nearest ratio": "median distance of a sample to the nearest training network, over the same of held-out networks. "
    "0: copies; 1: as new as networks that were trained anew. The distance is ",
    "dispersion": "mean distance among samples over that among held-out networks. 0: all the same.",
    "error overlap": "median over samples of the greatest overlap (intersection over union) of a sample's wrong "
    "predictions with those of a training network. 1: the same mistakes.",
    "copying z": "z-score of the Mann-Whitney test between sample-to-training and held-out-to-training distances "
    "(Meehan et al. 2020). Far below 0: nearer to the training networks than real networks are.",
    "novel, performant, both": "novel: at least as far from the training networks as 95 % of held-out ones, and with "
    "no more error overlap than 95 % of them. Performant: at most half a point below the training networks' median.",
    "splits": "networks are trained on `train`; generators are stopped by networks of validation runs; `test` images "
    "are only reported. Parts are cut by run.",
}


def write_report(records: Path, page: Path, plots: Path, name: str, headline: str) -> None:
    """Write the page and the PNG plots from a run's records alone. Raises `BadInput` when they are not complete."""
    found = read_records(records)
    summary = summarise(found)
    figures: dict[str, Any] = {}
    if any(record.kind == "network" and record.metrics.get("nearest_distance") is not None for record in found):
        figures["audit"] = audit_figure(found, summary, headline)
    if summary.wanted:
        figures["wanted"] = wanted_figure(summary)
    pictures = {
        f"weights-{_file_name(record.subject['member'])}": histograms_figure(record.details["layers"])
        for record in found
        if record.kind == "histograms"
    }
    sections = [Section("How good and how new", [sets_table(summary, member) for member in summary.members], figures)]
    if summary.given:
        sections.append(Section("Layers given the rest", [given_table(summary)]))
    sections += [Section("Training", [training_table(summary)]), Section("Weights", (), pictures)]
    distance = f"{DEFINITIONS['nearest ratio']}{summary.measured_on['distance']}."
    meanings = DEFINITIONS | {"nearest ratio": distance}
    Page(name, _introduction(summary), verdict(summary, headline), sections, meanings, found[0]).write(page, plots)


def _introduction(summary: Summary) -> str:
    where = summary.measured_on
    models = "; ".join(
        f"<b>{html.escape(row['generator'])}</b> on <b>{html.escape(row['codec'])}</b> tokens "
        f"({row['tokens']:,} x {row['token_dim']:,} numbers; {html.escape(said(row['exactness']))}) for "
        f"{html.escape(row['member'])}"
        for row in {row["member"]: row for row in summary.training}.values()
    )
    data = ", ".join(
        f"the {images:,} test images of <b>{html.escape(str(name))}</b>" for name, images in summary.images.items()
    )
    own = ", each network on those of the data set that it is for" if len(summary.images) > 1 else ""
    return f"""<p>Measured on {data}{own}
({html.escape(str(where["precision"]))}). Generators: {models}.</p>"""


def _file_name(member: str) -> str:
    """A member may be named by the path of a data set; a picture's name is none."""
    return member.replace("/", "_").replace("\\", "_")
