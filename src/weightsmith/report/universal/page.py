"""The page of a universal experiment."""

from __future__ import annotations

import html
from pathlib import Path

from weightsmith.record import read_records
from weightsmith.report.page import Page, Section
from weightsmith.report.universal.figures import accuracies_figure, curve_figure
from weightsmith.report.universal.summary import Summary, summarise
from weightsmith.report.universal.tables import families_table, splits_table, training_table, worst_table
from weightsmith.report.universal.verdict import verdict

DEFINITIONS = {
    "split": "unseen instances: architectures drawn as those were that were trained on, none of which was. Unseen "
    "size: all widths, and depths where a family has several, left out of training, inside its range. Beyond: up to "
    "1.5 times the largest. Unseen combination: operations that training saw apart, never together. Held-out family: "
    "families that were not trained on at all. What training was given stands under Training.",
    "median, 5th percentile, worst": "test accuracy in % over architectures, of one unselected network for each, "
    "without a gradient step. What computes nothing finite counts as 0.",
    "random init": "median accuracy of the same architectures as they are initialised.",
    "error overlap": "intersection over union of the test images that two networks for one architecture get wrong, "
    "mean over architectures. 1: the two are one network.",
    "without statistics": "median accuracy of the architectures with batch norms, with their running statistics as at "
    "random init. Everywhere else these are measured on training images, without labels.",
    "seconds": "to write one network once its graph is read, median.",
    "families": "mlp: multilayer perceptrons. cnn: plain convolutional networks. residual: residual networks. vit: "
    "vision transformers. axial: linear layers over rows and columns in turn. hybrid: convolutions, "
    "attention and perceptrons in any order. tokens: perceptrons over the tokens of patches, and attention. "
    "medley: layers in a row, each with a kind, a norm and an activation of its own. "
    "separable: depthwise-separable networks. mixer: MLP-mixers.",
    "splits of images": "networks are trained on the split train; validation images are only watched; test images are "
    "only reported.",
}


def write_report(records: Path, page: Path, plots: Path, name: str, headline: str) -> None:
    """Write the page and the PNG plots from a run's records alone. Raises `BadInput` when they are not complete."""
    found = read_records(records)
    summary = summarise(found)
    sections = [
        Section(
            "Networks for architectures that were not trained on",
            [splits_table(summary), families_table(summary), worst_table(summary)],
            {"accuracies": accuracies_figure(summary)},
        ),
        Section("Training", [training_table(summary)], {"training": curve_figure(summary)}),
    ]
    Page(name, _introduction(summary), verdict(summary, headline), sections, DEFINITIONS, found[0]).write(page, plots)


def _introduction(summary: Summary) -> str:
    where, parameters = summary.measured_on, f"{summary.training['parameters']:,.0f}"
    data = html.escape(str(where["dataset"]))
    return f"""<p>A hypernetwork of {parameters} parameters reads the graph of an architecture and writes all of its
weights from noise, in one pass. Measured on the {where["images"]:,} test images of <b>{data}</b>,
computed in {html.escape(str(where["precision"]))}. No network is selected.</p>"""
