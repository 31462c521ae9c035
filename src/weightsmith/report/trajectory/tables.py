"""The tables of a trajectory experiment."""

from __future__ import annotations

from weightsmith.report.table import MISSING, Table, number, percent, ratio
from weightsmith.report.trajectory import published
from weightsmith.report.trajectory.summary import Summary


def step_table(summary: Summary, headline: str) -> Table:
    """Accuracy along the generative steps, one column a budget, the original and the published figures beside it."""
    others = [budget for budget in summary.budgets if budget != headline]
    columns = ["step", f"{headline}: accuracy %", "loss", "init dep.", "function dep.", "nearest ckpt."]
    columns += [f"{budget}: accuracy %" for budget in others] + ["original epoch %"]
    columns += ["the note: generated %", "the note: original %"] if summary.comparable_to_note else []
    originals = {row["step"]: row for row in summary.originals}
    rows = []
    for step in range(summary.last_step + 1):
        row = summary.step(headline, step) or {}
        cells = [f"{step} (unseen init)" if step == 0 else str(step), _spread(row), number(row.get("loss_mean"))]
        # At step 0 nothing has been generated yet: random inits differ from one another as they will.
        known = row if step else {}
        cells += [ratio(known.get(key)) for key in ("init_dependence", "function_dependence")]
        cells += [number(row.get("nearest_checkpoint_distance"), 3)]
        cells += [_spread(summary.step(budget, step)) for budget in others]
        cells += [_spread(originals.get(step))]
        if summary.comparable_to_note:
            tables = (published.GENERATED, published.ORIGINAL)
            cells += [f"{100 * table[step][0]:.2f}" if step in table else MISSING for table in tables]
        rows.append(cells)
    return Table("Accuracy along the generative steps", columns, rows)


def baseline_table(summary: Summary) -> Table:
    """What needs no model."""
    rows = [
        [
            row["name"],
            _spread(row),
            number(row["loss_mean"]),
            number(row["note_loss_mean"], 2),
            number(row["nearest_checkpoint_distance"], 3),
            row["note"],
        ]
        for row in sorted(summary.baselines, key=lambda row: -(row["accuracy_mean"] or 0.0))
    ]
    columns = ["baseline", "accuracy %", "loss", "the note's loss", "nearest ckpt.", "what it is"]
    return Table("Baselines: no model at all", columns, rows)


def loss_table(summary: Summary, headline: str) -> Table:
    """Mean cross-entropy and the note's loss scale, generated beside original."""
    columns = ["step", "generated: loss", "the note's loss", "original: loss", "the note's loss"]
    columns += ["the note: generated", "the note: original"] if summary.comparable_to_note else []
    originals = {row["step"]: row for row in summary.originals}
    rows = []
    for step in range(summary.last_step + 1):
        pair = (summary.step(headline, step) or {}, originals.get(step, {}))
        cells = [str(step)]
        for row in pair:
            cells += [number(row.get("loss_mean")), number(row.get("note_loss_mean"), 2)]
        if summary.comparable_to_note:
            tables = (published.GENERATED, published.ORIGINAL)
            cells += [number(table[step][1], 2) if step in table else MISSING for table in tables]
        rows.append(cells)
    return Table("Loss along the generative steps", columns, rows)


def training_table(summary: Summary) -> Table:
    """What the generators cost and how well they fit their training pairs."""
    rows = [
        [
            row["budget"],
            f"{row['epochs']:.0f}",
            f"{row['updates']:.0f}",
            number(row["loss"], 6),
            percent(row["loss"] / row["loss_of_the_mean"]) if row["loss_of_the_mean"] else MISSING,
            f"{row['seconds']:.2f}",
        ]
        for row in sorted(summary.training, key=lambda row: row["updates"])
    ]
    columns = ["budget", "epochs", "updates", "loss on the pairs", "share of the mean's loss", "seconds"]
    return Table("Training of the generators (means over pipelines)", columns, rows)


def _spread(row: dict[str, float | None] | None) -> str:
    mean = row.get("accuracy_mean") if row else None
    if row is None or mean is None:
        return MISSING
    deviation = row.get("accuracy_std_pipelines")
    return f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
