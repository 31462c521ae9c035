"""What the report of a population says of known numbers: sentences, columns, and how networks are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from weightsmith.report.figures import grid, histograms_figure
from weightsmith.report.population.figures import audit_figure
from weightsmith.report.population.summary import Summary
from weightsmith.report.population.tables import given_table, sets_table
from weightsmith.report.population.verdict import calibration_r2, verdict

AUDIT = ("nearest_ratio", "dispersion_ratio", "novel", "performant", "novel_and_performant")


def row(kind: str, networks: int, accuracy: float | None, member: str = "mlp", name: str = "", **more: Any) -> Any:
    numbers = {"accuracy_mean": accuracy, "accuracy_std": None, "accuracy_min": accuracy, "loss_mean": None}
    return {"member": member, "set": kind, "name": name, "networks": networks, "not_finite": 0, **numbers, **more}


def summary(*sets: Any, wanted: Any = (), training: Any = (), given: Any = ()) -> Summary:
    members = list(dict.fromkeys(one["member"] for one in sets))
    where = {"images": 10, "dataset": "digits", "precision": "fp32"}
    return Summary(
        list(sets), list(wanted), list(given), list(training), where, {"mnist": 100}, ["relative L2"], members
    )


def population(nearest: float, performant: float, held_out: int = 30, both: float = 0.0) -> Summary:
    audit = {"nearest_ratio": nearest, "dispersion_ratio": 1.0, "novel": 1.0, "performant": performant}
    audit |= {"novel_and_performant": both, "held_out_novel_and_performant": 0.5}
    return summary(
        row("training", 40, 0.9),
        row("held out", held_out, 0.9, nearest_ratio=1.0),
        row("generated", 8, 0.8, name="some", **audit),
        row("baseline", 8, 0.8, name="a mean", novel_and_performant=0.25),
    )


@pytest.mark.parametrize(
    ("nearest", "performant", "said"),
    [(0.01, 0.9, "are copies"), (0.5, 0.9, "stay nearer"), (1.1, 0.9, "lie as far"), (1.1, 0.0, "no sign of new")],
)
def test_distance_is_called_what_it_is(nearest: float, performant: float, said: str) -> None:
    text = " ".join(verdict(population(nearest, performant), "some"))
    assert said in text
    assert ("no sign of new" in text) == (performant == 0)
    assert "rough" not in text


def test_few_held_out_networks_are_named() -> None:
    assert "rough: 1 network held out" in " ".join(verdict(population(1.1, 0.5, held_out=1), "some"))


@pytest.mark.parametrize(("both", "said"), [(0.5, "more than that"), (0.25, "no more than that"), (0, "no more than")])
def test_the_share_stands_beside_the_best_baselines(both: float, said: str) -> None:
    assert f"is {said}" in " ".join(verdict(population(1.0, 0.5, both=both), "some"))


def test_points_are_below_the_last_networks_of_the_runs_or_the_one_network() -> None:
    many = verdict(population(1.0, 0.5), "some")[0]
    assert "10.00 points below the last networks of the 40 runs that were learned from, which score 90.00 %" in many
    one = summary(row("training", 1, 0.9), row("generated", 8, 0.95, name="some", spread_over_distance=0.125))
    said = verdict(one, "some")
    assert "5.00 points above the network that was learned from, which scores 90.00 %" in said[0]
    assert said[1].startswith("There was one network to learn from: this is replay")
    assert "0.12 from one another" in said[1]
    broken = summary(row("training", 1, 0.9), row("generated", 8, None, name="some", not_finite=8))
    assert "Of the samples 8 compute nothing finite" in verdict(broken, "some")[0]


def test_a_table_holds_no_column_of_what_was_not_measured() -> None:
    one = summary(row("training", 1, 0.9), row("generated", 8, 0.95, name="some"))
    assert sets_table(one, "mlp").columns == ["networks", "n", "accuracy %", "worst %"]
    many = population(1e-7, 0.5)
    columns = list(sets_table(many, "mlp").columns)
    assert [name for name in columns if name in ("nearest ratio", "both", "loss")] == ["nearest ratio", "both"]
    generated = sets_table(many, "mlp").rows[2]
    assert generated[columns.index("nearest ratio")] == "< 0.001"
    assert all(len(cells) == len(columns) for cells in sets_table(many, "mlp").rows)


def test_wishes_are_judged_for_each_architecture() -> None:
    sets = [row(kind, 1, 0.9, member, name) for member in "ab" for kind, name in (("training", ""), ("generated", "x"))]
    wanted = [{"member": "a", "wanted": w, "accuracy": w} for w in (0.1, 0.5)]
    wanted += [{"member": "b", "wanted": w, "accuracy": 0.3} for w in (0.1, 0.5)]
    found = summary(*sets, wanted=wanted)
    assert calibration_r2(found, "a") == pytest.approx(1)
    assert calibration_r2(found, "b") == pytest.approx(0)
    said = " ".join(verdict(found, "x"))
    assert "the networks for a agree with what was asked to r2 = 1 " in said
    assert "the networks for b agree" in said
    assert calibration_r2(summary(*sets, wanted=wanted[:1])) is None


def test_layers_have_their_architecture_only_where_there_are_several() -> None:
    given = [{"member": "a", "layer": "fc1", "networks": 1, "gain": 0.1, "accuracy": 0.5}]
    given = [{**one, "best_training_accuracy": 0.4, "own_accuracy": 0.9} for one in given]
    sets = [row("training", 1, 0.9, "a"), row("training", 1, 0.9, "b")]
    assert given_table(summary(sets[0], given=given)).rows[0][0] == "fc1"
    assert given_table(summary(*sets, given=given)).rows[0][0] == "a: fc1"


@pytest.mark.parametrize(("panels", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (1, 4)), (5, (2, 4))])
def test_panels_stand_in_rows(panels: int, shape: tuple[int, int]) -> None:
    figure, axes = grid(panels, 4, (3.0, 2.0))
    assert len(axes) == len(figure.axes) == panels
    assert tuple(figure.get_size_inches()) == (3.0 * shape[1], 2.0 * shape[0])


def test_networks_are_drawn_in_one_order_and_colour_wherever_they_are() -> None:
    def legend(names: list[str]) -> dict[str, Any]:
        layers = {"fc.weight": {"edges": [-1.0, 0.0, 1.0], "density": {name: [0.5, 0.5] for name in sorted(names)}}}
        (drawn,) = histograms_figure(layers, "mlp").legends
        labels = [text.get_text() for text in drawn.get_texts()]
        return dict(zip(labels, (handle.get_color() for handle in drawn.legend_handles), strict=True))

    population = legend(["training", "held out", "generated"])
    assert list(population) == ["training", "held out", "generated"]
    assert len(set(population.values())) == 3
    trajectory = legend(["random init", "trained, epoch 5", "generated, step 5"])
    assert list(trajectory) == ["random init", "trained, epoch 5", "generated, step 5"]
    assert trajectory["generated, step 5"] == population["generated"]


def test_the_legend_lies_beside_the_points() -> None:
    figure = audit_figure([], population(1.0, 0.5), "some")
    assert not figure.axes[0].get_legend()
