"""What the numbers of a population experiment allow to be said, in words."""

from __future__ import annotations

from typing import Any

import torch

from weightsmith.evaluation.calibration import Calibration
from weightsmith.report.population.summary import Summary
from weightsmith.report.table import percent, ratio

REPLAY = 0.1  # nearest ratio below which samples are called copies
NEAR = 0.8  # and below which they are said to stay nearer to the training networks than new networks do
COLLAPSED = 0.5  # dispersion ratio below which samples are called alike


def verdict(summary: Summary, headline: str) -> list[str]:
    """Sentences about the headline budget of every member; each states the numbers that it rests on."""
    sentences = []
    for member in summary.members:
        sentences += [_accuracy(summary, member, headline), _novelty(summary, member, headline)]
        sentences += [_baselines(summary, member, headline)]
    return [sentence for sentence in (*sentences, _wanted(summary), _given(summary)) if sentence]


def headline_numbers(summary: Summary, headline: str) -> dict[str, Any]:
    """The few numbers that the experiment is about, by member, and the verdict."""
    numbers: dict[str, Any] = {"budget": headline}
    for member in summary.members:
        row, real = summary.generated(member, headline), _real(summary, member)
        keys = ("accuracy_mean", "accuracy_min", "nearest_ratio", "dispersion_ratio", "novel_and_performant")
        of_member: dict[str, Any] = {key: row.get(key) for key in keys}
        of_member["points_below"] = _below(real, row)
        numbers |= {f"{member}.{key}": value for key, value in of_member.items()}
    return {**numbers, "verdict": verdict(summary, headline)}


def _real(summary: Summary, member: str) -> dict[str, Any]:
    row = summary.of(member, "training")
    assert row is not None, "measured first"
    return row


def _below(real: dict[str, Any], row: dict[str, Any]) -> float | None:
    if real["accuracy_mean"] is None or row["accuracy_mean"] is None:
        return None
    return float(real["accuracy_mean"] - row["accuracy_mean"])


def _accuracy(summary: Summary, member: str, headline: str) -> str:
    row, real = summary.generated(member, headline), _real(summary, member)
    below = _below(real, row)
    compared = "" if below is None else f", {abs(100 * below):.2f} points {'below' if below >= 0 else 'above'} them"
    text = (
        f"{row['networks']} unselected samples for {member} score {percent(row['accuracy_mean'])} on average "
        f"(worst {percent(row['accuracy_min'])}); the {real['networks']} networks that were learned from score "
        f"{percent(real['accuracy_mean'])}{compared}."
    )
    broken = row["not_finite"]
    return f"{text} {broken} of the samples are not finite and have no accuracy." if broken else text


def _novelty(summary: Summary, member: str, headline: str) -> str:
    row, real = summary.generated(member, headline), _real(summary, member)
    if real["networks"] == 1:
        spread = row.get("spread_over_distance")
        shown = "" if spread is None else f" They lie {ratio(spread)} of its norm apart from one another."
        return f"There was one network to learn from: this is replay of it, and nothing else can be.{shown}"
    nearest, dispersion = row.get("nearest_ratio"), row.get("dispersion_ratio")
    if nearest is None:
        return f"Without held-out networks of {member}, nothing is claimed about how new its samples are."
    if nearest < REPLAY:
        manner = "are copies of training networks"
    elif nearest < NEAR:
        manner = "stay nearer to the training networks than real new networks do"
    else:
        manner = "lie as far from the training networks as real new networks do"
    text = f"The samples {manner}: nearest ratio {ratio(nearest)} (1: as far as held-out networks)."
    if dispersion is not None and dispersion < COLLAPSED:
        text += f" They are alike: dispersion ratio {ratio(dispersion)} (1: as different as real ones)."
    both, own = row.get("novel_and_performant"), row.get("held_out_novel_and_performant")
    if both is not None:
        text += f" Novel and performant at once are {percent(both)}; of real held-out networks {percent(own)}."
    return text


def _baselines(summary: Summary, member: str, headline: str) -> str:
    rows = [row for row in summary.sets if row["member"] == member and row["set"] == "baseline"]
    shares = {row["name"]: row["novel_and_performant"] for row in rows if row.get("novel_and_performant") is not None}
    own = summary.generated(member, headline).get("novel_and_performant")
    if not shares or own is None:
        return ""
    best = max(shares, key=lambda name: shares[name])
    relation = "more than" if own > shares[best] else "no more than"
    return f"That is {relation} the best baseline without a generator, {best}, whose share is {percent(shares[best])}."


def _wanted(summary: Summary) -> str:
    if not summary.wanted:
        return ""
    r2 = calibration_r2(summary)
    return (
        f"Asked for {len(summary.wanted)} accuracies between {percent(min(row['wanted'] for row in summary.wanted))} "
        f"and {percent(max(row['wanted'] for row in summary.wanted))}, the networks agree with what was asked to r2 = "
        f"{ratio(r2)} (1 - SSE/SST; 1: they have what was asked, 0 or less: the wish is ignored)."
    )


def calibration_r2(summary: Summary) -> float | None:
    """How well what was achieved agrees with what was asked; a network that computes nothing has accuracy 0."""
    wanted = torch.tensor([row["wanted"] for row in summary.wanted])
    achieved = torch.tensor([row["accuracy"] or 0.0 for row in summary.wanted])
    return Calibration.of(wanted, achieved).r2 if len(wanted) > 1 else None


def _given(summary: Summary) -> str:
    gains = {f"{row['member']}: {row['layer']}": row["gain"] for row in summary.given if row["gain"] is not None}
    if not gains:
        return ""
    listed = ", ".join(f"{name} {100 * gain:+.1f}" for name, gain in gains.items())
    return f"A layer of a held-out network generated given the rest, in points over the best training layer: {listed}."
