"""The page of a population experiment."""

from __future__ import annotations

import html
from collections.abc import Mapping
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
from weightsmith.reporter import counted

DEFINITIONS = {
    "networks": "training: the last network of every run that the generator learned from. Held out: of runs that it "
    "never saw. Reconstructed: held-out ones, encoded and decoded, which is the best that its codec allows. Generated: "
    "unselected samples, by budget, and by sampler and steps where these are not its own. Baselines need no generator.",
    "accuracy, loss": "share of test images classified rightly, in %, ± the standard deviation among the networks; "
    "mean cross-entropy an image, in nats.",
    "nearest ratio": "median distance of a sample to the nearest training network, over the same of held-out networks. "
    "0: copies; 1: as new as networks that were trained anew. The distance is ",
    "dispersion": "mean distance among samples over that among held-out networks. 0: all the same.",
    "error overlap": "median over samples of the greatest overlap (intersection over union) of a sample's wrong "
    "predictions with those of a training network. 1: the same mistakes.",
    "copying z": "z-score of the Mann-Whitney test between sample-to-training and held-out-to-training distances "
    "(Meehan et al. 2020). Far below 0: nearer to the training networks than real networks are.",
    "novel, performant, both": "novel: at least as far from the training networks as 95 % of held-out ones, and with "
    "no more error overlap than 95 % of them. Performant: at most half a point below the training networks' median.",
    "asked for by accuracy": "what is asked is the accuracy on validation images, which a zoo states of its networks; "
    "what is shown beside it is the accuracy on test images.",
    "gain": "accuracy with the layer generated, less that with the layer of the training network which does best in "
    "its place on validation images; all networks balanced and aligned first where the codec does so.",
    "weights": "how they are distributed in the first training network, the first held-out one and the first sample "
    "that is finite.",
    "splits": "networks are trained on the split train; generators are chosen by networks of validation runs, if at "
    "all; test images are only reported. Parts are cut by run.",
}


def _definitions(summary: Summary) -> dict[str, str]:
    """What stands on this page, explained."""
    shown = dict(DEFINITIONS)
    columns = {name for member in summary.members for name in sets_table(summary, member).columns}
    for term, column in (("copying z",) * 2, ("dispersion",) * 2, ("error overlap",) * 2, ("nearest ratio",) * 2):
        if column not in columns:
            del shown[term]
    if "both" not in columns:
        del shown["novel, performant, both"]
    if not summary.wanted:
        del shown["asked for by accuracy"]
    if not summary.given:
        del shown["gain"]
    if "nearest ratio" in shown:
        shown["nearest ratio"] += f"{'; '.join(summary.distances)}."
    return shown


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
        f"weights-{_file_name(member)}": histograms_figure(
            record.details["layers"], member if len(summary.members) > 1 else ""
        )
        for record in found
        if record.kind == "histograms"
        for member in [record.subject["member"]]
    }
    sections = [
        Section("How good and how new", [sets_table(summary, member) for member in summary.members], figures),
    ]
    if summary.given:
        sections.append(Section("Layers given the rest", [given_table(summary)]))
    sections += [Section("Training", [training_table(summary)]), Section("Weights", (), pictures)]
    introduction, sentences = _introduction(summary), verdict(summary, headline)
    Page(name, introduction, sentences, sections, _definitions(summary), found[0]).write(page, plots)


def _introduction(summary: Summary) -> str:
    where = summary.measured_on
    members = {row["member"]: row for row in summary.training}
    items = "".join(f"<li>{_member(row)}</li>" for row in members.values())
    data = ", ".join(
        f"the {images:,} test images of <b>{html.escape(str(name))}</b>" for name, images in summary.images.items()
    )
    own = ", each network on those of the data set that it is for" if len(summary.images) > 1 else ""
    return f"""<p>Measured on {data}{own},
computed in {html.escape(str(where["precision"]))}. No sample is selected.</p>
<ul>{items}</ul>"""


def _member(row: Mapping[str, Any]) -> str:
    """Which networks a generator is for, what it learned from, and how it is made."""
    parts, form = row.get("parts", {}), row.get("architecture", {})
    named = ", ".join([form.get("name", "networks"), *(f"{k} {_plain(v)}" for k, v in form.get("options", {}).items())])
    size = f", {row['network_parameters']:,} parameters" if "network_parameters" in row else ""
    validation = "validated on" if row.get("validation_loss") is not None else "left for validation"
    roles = {"train": "learned from", "validation": validation}
    dealt = [f"{role} {_part(parts[part])}" for part, role in roles.items() if parts.get(part, {}).get("runs")]
    if parts.get("held_out", {}).get("runs"):
        dealt.append(f"compared with {counted(parts['held_out']['runs'], 'held-out run')}")
    tokens = f"{row['codec']} tokens, {row['tokens']:,} x {row['token_dim']:,}, {said(row['exactness'])}"
    texts = [f"{named}{size}", ", ".join(dealt), tokens, _how(row["generator"], row.get("options", {}))]
    return f"<b>{html.escape(row['member'])}</b>: {html.escape('; '.join(filter(None, texts)))}."


def _part(part: Mapping[str, int]) -> str:
    """Runs, and the networks in them where these are more."""
    runs = counted(part["runs"], "run")
    return runs if part["networks"] == part["runs"] else f"{counted(part['networks'], 'network')} of {runs}"


def _how(generator: str, options: Mapping[str, Any]) -> str:
    """What a generator is made with, in short: the names, and how it samples."""
    named = [f"{name} {options[name]}" for name in ("path", "prediction", "denoiser") if name in options]
    sampled = [f"sampled by {options['sampler']} in {options['steps']} steps"] if "sampler" in options else []
    return ", ".join([generator, *named, *sampled])


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _file_name(member: str) -> str:
    """A member may be named by the path of a data set; a picture's name is none."""
    return member.replace("/", "_").replace("\\", "_")
