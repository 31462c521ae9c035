"""What the numbers of a population experiment allow to be said, in words."""

from __future__ import annotations

from typing import Any

import torch

from weightsmith.evaluation.calibration import Calibration
from weightsmith.report.population.summary import Summary
from weightsmith.report.table import percent, ratio
from weightsmith.reporter import counted

REPLAY = 0.1  # nearest ratio below which samples are called copies
NEAR = 0.8  # and below which they are said to stay nearer to the training networks than new networks do
FEW = 20  # held-out networks, with fewer of which a 5th percentile is hardly one
COLLAPSED = 0.5  # dispersion ratio below which samples are called alike


def verdict(summary: Summary, headline: str) -> list[str]:
    """Sentences about the headline budget of every member; each states the numbers that it rests on."""
    sentences = []
    for member in summary.members:
        sentences += [_accuracy(summary, member, headline), _novelty(summary, member, headline)]
        sentences += [_baselines(summary, member, headline), _wanted(summary, member)]
    return [sentence for sentence in (*sentences, _given(summary)) if sentence]


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
    one = real["networks"] == 1
    compared = "" if below is None else f", {abs(100 * below):.2f} points {'below' if below >= 0 else 'above'} "
    learned = "the network that was" if one else f"the last networks of the {real['networks']} runs that were"
    text = (
        f"{row['networks']} unselected samples for {member} score {percent(row['accuracy_mean'])} on average "
        f"(worst {percent(row['accuracy_min'])}){compared}{learned if compared else f'; {learned}'} learned from"
        f"{', which score' if compared else ' score'}{'s' if one else ''} {percent(real['accuracy_mean'])}."
    )
    broken = row["not_finite"]
    return f"{text} Of the samples {broken} compute nothing finite and have no accuracy." if broken else text


def _novelty(summary: Summary, member: str, headline: str) -> str:
    row, real = summary.generated(member, headline), _real(summary, member)
    if real["networks"] == 1:
        return _replay(summary, member, row)
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
    if nearest >= NEAR and row.get("performant") == 0:
        text += " None of them is performant, and noise is as far: this is no sign of new networks."
    if dispersion is not None and dispersion < COLLAPSED:
        text += f" They are alike: dispersion ratio {ratio(dispersion)} (1: as different as real ones)."
    both, own = row.get("novel_and_performant"), row.get("held_out_novel_and_performant")
    if both is not None:
        text += f" Novel and performant at once are {percent(both)}; of real held-out networks {percent(own)}."
    held_out = summary.of(member, "held out")
    if held_out is not None and held_out["networks"] < FEW:
        text += f" All of this is rough: {counted(held_out['networks'], 'network')} held out to compare with."
    return text


def _replay(summary: Summary, member: str, row: dict[str, Any]) -> str:
    """Of one run: there is nothing else to be learned from it."""
    learned: dict[str, int] = next(
        (one.get("parts", {}).get("train", {}) for one in summary.training if one["member"] == member), {}
    )
    spread = row.get("spread_over_distance")
    apart = "" if spread is None else f" The samples lie {ratio(spread)} from one another (relative L2)."
    if learned.get("networks", 1) == 1:
        return f"There was one network to learn from: this is replay of it, and nothing else can be.{apart}"
    return (
        f"There was one run to learn from, with {learned['networks']} networks: this is replay of them, and nothing "
        f"else can be.{apart}"
    )


def _baselines(summary: Summary, member: str, headline: str) -> str:
    rows = [row for row in summary.sets if row["member"] == member and row["set"] == "baseline"]
    shares = {row["name"]: row["novel_and_performant"] for row in rows if row.get("novel_and_performant") is not None}
    own = summary.generated(member, headline).get("novel_and_performant")
    if not shares or own is None:
        return ""
    best = max(shares, key=lambda name: shares[name])
    if not shares[best]:
        return f"Of the baselines for {member}, which need no generator, none makes a network that is both."
    relation = "more than" if own > shares[best] else "no more than"
    return (
        f"The share for {member} is {relation} that of the best baseline, which needs no generator: {best}, "
        f"{percent(shares[best])}."
    )


def _wanted(summary: Summary, member: str) -> str:
    rows = [row for row in summary.wanted if row["member"] == member]
    if not rows:
        return ""
    least, most = (percent(end(row["wanted"] for row in rows)) for end in (min, max))
    r2 = calibration_r2(summary, member)
    if r2 is None:
        return f"Asked for {least} and nothing else, the networks for {member} show no calibration."
    return (
        f"Asked for {len(rows)} accuracies between {least} and {most}, the "
        f"networks for {member} agree with what was asked to r2 = "
        f"{ratio(r2)} (1 - SSE/SST; 1: they have what was asked, 0 or less: the wish is ignored)."
    )


def calibration_r2(summary: Summary, member: str | None = None) -> float | None:
    """How well what was achieved agrees with what was asked; a network that computes nothing has accuracy 0.

    Of one member, or of all together; `None` where the wishes are all the same.
    """
    rows = [row for row in summary.wanted if member in (None, row["member"])]
    wanted = torch.tensor([row["wanted"] for row in rows])
    achieved = torch.tensor([row["accuracy"] or 0.0 for row in rows])
    return Calibration.of(wanted, achieved).r2 if len(wanted.unique()) > 1 else None


def _given(summary: Summary) -> str:
    prefixed = len(summary.members) > 1
    gains = {
        f"{row['member']}: {row['layer']}" if prefixed else row["layer"]: row["gain"]
        for row in summary.given
        if row["gain"] is not None
    }
    if not gains:
        return ""
    listed = ", ".join(f"{name} {100 * gain:+.1f}" for name, gain in gains.items())
    return f"A layer of a held-out network generated given the rest, in points over the best training layer: {listed}."
