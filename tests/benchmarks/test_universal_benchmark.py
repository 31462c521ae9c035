"""The benchmark of universal synthesis: its own arithmetic, by known answers; and, slowly, all of its parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_universal import small_universal
from torch import Tensor

from benchmarks import universal_ablations
from benchmarks.universal import start
from benchmarks.universal.__main__ import COMPARED, PARTS, assemble, chosen_parts, differing, main, options
from benchmarks.universal.accuracy import quantile, summaries
from benchmarks.universal.baselines import features, last_linear
from benchmarks.universal.budget import Budget
from benchmarks.universal.finetune import RESOLUTION, accuracy_at, compared, epochs_to, reached
from benchmarks.universal.fitting import centred_taps, counterpart, cut_or_tile, fitted, option_distance, transplanted
from benchmarks.universal.generators import Source, load_source
from benchmarks.universal.headline import headline
from benchmarks.universal.kept import Kept, Share
from benchmarks.universal.overlap import overlap
from benchmarks.universal.ridge import RidgeSums
from benchmarks.universal.start import affinity
from benchmarks.universal.training import Point
from weightsmith.architectures import Architecture
from weightsmith.architectures.families import SPLITS
from weightsmith.datasets import load_dataset
from weightsmith.errors import BadInput
from weightsmith.generators.tiled import make_tiled
from weightsmith.generators.universal import make_universal
from weightsmith.hypernetworks import Blueprint

IMAGE = (1, 12, 12)


def test_cutting_and_tiling_index_every_axis_from_its_beginning() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert cut_or_tile(x, (3, 2)).tolist() == [[0, 1], [3, 4], [0, 1]]
    assert cut_or_tile(x, (1, 7)).tolist() == [[0, 1, 2, 0, 1, 2, 0]]


def test_kernels_are_cut_and_padded_about_their_centre() -> None:
    kernel = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert centred_taps(kernel, (1, 1)).item() == 4
    wide = centred_taps(kernel, (5, 3))
    assert wide[0, 0, 1:4].equal(kernel[0, 0])
    assert wide.sum() == kernel.sum()


@pytest.mark.parametrize(
    ("name", "donor", "wanted"),
    [
        ("mlp", {"hidden": [4, 3]}, {"hidden": [8, 9]}),
        ("cnn", {"channels": [2, 3], "hidden": 5}, {"channels": [4, 9], "hidden": 10}),
        ("cnn", {"channels": [2, 3], "kernel": 3, "hidden": 5}, {"channels": [2, 3], "kernel": 5, "hidden": 5}),
    ],
)
def test_a_network_tiled_a_whole_number_of_times_computes_what_it_did(name: str, donor: dict, wanted: dict) -> None:
    small, large = (Architecture(name, IMAGE, 6, options).build(1).eval() for options in (donor, wanted))
    large.load_state_dict({**large.state_dict(), **transplanted(large, small, small.state_dict())})
    images = torch.randn(7, *IMAGE)
    torch.testing.assert_close(large(images), small(images))


def test_queries_keys_and_values_are_cut_apart_from_one_another() -> None:
    stacked = torch.cat([torch.full((4, 2), float(i)) for i in range(3)])
    assert fitted("mix.qkv.weight", stacked, (6, 2)).tolist() == [[float(i)] * 2 for i in (0, 0, 1, 1, 2, 2)]


@pytest.mark.parametrize("projections", ["packed", "chunked"])
def test_attention_is_transplanted_from_one_spelling_to_another(projections: str) -> None:
    common = {"patch": 7, "dim": 12, "depth": 2, "heads": 2}
    spelled, other = (
        Architecture("vit", (1, 28, 28), 6, {**common, "projections": one}).build(i).eval()
        for i, one in enumerate((projections, "separate"))
    )
    images = torch.randn(3, 1, 28, 28)
    for module, donor in ((spelled, other), (other, spelled)):
        given = transplanted(module, donor, donor.state_dict())
        module.load_state_dict(given)
        torch.testing.assert_close(module(images), donor(images))


def test_layers_are_taken_from_the_same_relative_depth() -> None:
    assert [counterpart(i, 5, 3) for i in range(5)] == [0, 0, 1, 2, 2]
    assert counterpart(0, 1, 3) == 2
    deep, shallow = (Architecture("mlp", IMAGE, 6, {"hidden": [5] * n}).build(n) for n in (3, 1))
    found = transplanted(shallow, deep, deep.state_dict())
    assert found["fc1.weight"].equal(deep.fc1.weight)
    assert found["fc2.bias"].equal(deep.fc4.bias)


def test_options_differ_by_choices_layers_and_logarithms_of_sizes() -> None:
    one = {"hidden": [7, 15], "activation": "relu", "groups": 1, "bottleneck": True}
    assert option_distance(one, one) == 0
    assert option_distance(one, {**one, "activation": "gelu", "bottleneck": False}) == 2
    assert option_distance(one, {**one, "groups": 3}) == 1
    assert option_distance(one, {**one, "hidden": [15, 15, 9]}) == 1.5
    assert option_distance({"norms": ["batch", "none"]}, {"norms": ["batch", "layer", "none"]}) == 1.5


def test_ridge_without_a_penalty_is_least_squares_and_with_much_of_it_the_mean() -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) + 3
    weight, bias = torch.randn(3, 4), torch.randn(3)
    sums = RidgeSums(4, 3)
    for part in x.split(20):
        sums.add(part, part @ weight.T + bias)
    found = sums.solved(0.0)
    torch.testing.assert_close(found[0], weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], bias, atol=1e-4, rtol=1e-4)
    shrunk, mean = sums.solved(1e9)
    assert shrunk.abs().max() < 1e-6
    torch.testing.assert_close(mean, (x @ weight.T + bias).mean(0), atol=1e-4, rtol=1e-4)


def test_one_feature_is_shrunk_by_the_known_amount() -> None:
    x = torch.tensor([[6.0], [8.0]])
    sums = RidgeSums(1, 1)
    sums.add(x, 3 * x - 16)
    weight, bias = sums.solved(0.5)
    assert weight.item() == pytest.approx(2)  # 3 var / (var + 0.5 var)
    assert 2 * 7 + bias.item() == pytest.approx(5), "the means stay on the line"


@pytest.mark.parametrize(
    "name", ["cnn", "residual", "separable", "vit", "mixer", "axial", "hybrid", "tokens", "mlp", "target_cnn"]
)
def test_the_head_reads_what_gives_the_logits(name: str) -> None:
    module, images = Architecture(name, (1, 28, 28), 6).build(0).eval(), torch.randn(3, 1, 28, 28)
    head = last_linear(module)
    torch.testing.assert_close(head(features(module, head, images)), module(images))


def test_quantiles_are_interpolated_and_summaries_are_by_family_too() -> None:
    assert quantile([0.0, 1.0, 2.0, 3.0], 0.05) == pytest.approx(0.15)
    assert quantile([7.0], 0.05) == 7
    rows = [
        {"kind": "accuracy", "method": "m", "split": "s", "family": family, "accuracy": accuracy}
        for family, accuracy in (("a", 0.5), ("a", 0.7), ("b", 0.9))
    ]
    found = {row["family"]: row for row in summaries(rows)}
    assert (found[None]["networks"], found[None]["median"], found[None]["min"]) == (3, 0.7, 0.5)
    assert found["a"]["median"] == pytest.approx(0.6)
    assert found["a"]["p05"] == pytest.approx(0.51)


def curve(*points: tuple[float, float]) -> list[Point]:
    return [Point(*point) for point in points]


def test_epochs_to_an_accuracy_are_interpolated() -> None:
    points = curve((0, 0.1), (0.5, 0.5), (1, 0.4), (2, 0.8))
    assert epochs_to(points, 0.3) == pytest.approx(0.25)
    assert epochs_to(points, 0.6) == pytest.approx(1.5)
    assert epochs_to(points, 0.1) == 0
    assert epochs_to(points, 0.9) is None
    assert accuracy_at(points, 1.5) == pytest.approx(0.6)
    assert accuracy_at(points, 3) is None


def test_the_ratio_of_epochs() -> None:
    random = curve((0, 0.0), (1, 0.5), (2, 0.8))
    ours = curve((0, 0.6), (0.5, 0.9))
    found = compared(reached([random], 2), [ours])
    assert found["accuracy"] == 0.8
    assert found["epochs"] == pytest.approx(1 / 3)
    assert found["ratio"] == pytest.approx(6)
    assert compared(reached([random], 1), [ours])["ratio"] == pytest.approx(1 / RESOLUTION), (
        "at once counts as one look"
    )
    assert compared(reached([random], 2), [curve((0, 0.1), (5, 0.2))])["ratio"] == 0, "it never got there"
    best = compared(reached([random, curve((0, 0.0), (2, 1.0))], 2), [ours, curve((0, 0.5), (1, 1.0))])
    assert (best["accuracy"], best["random_epochs"], best["epochs"]) == (1.0, 2, 1)


def test_affinity_of_outputs_that_are_half_as_far_from_their_own() -> None:
    distances = torch.full((4, 4), 0.8)
    distances.fill_diagonal_(0.4)
    found = affinity(distances, "a")
    assert found == {key: pytest.approx(0.5) for key in ("a", "a_low", "a_high")}
    uneven = affinity(torch.tensor([[0.1, 0.4, 0.4], [0.4, 0.2, 0.4], [0.4, 0.4, 0.6]]), "a")
    assert uneven["a"] == pytest.approx(0.75)
    assert uneven["a_low"] < 0.75 < uneven["a_high"]


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(torch.tensor([True, True, False]), torch.tensor([False, True, True])) == pytest.approx(1 / 3)


def test_rows_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    def kept() -> Kept:
        return Kept(tmp_path / "kept.jsonl", data="mnist")

    assert kept().row(lambda: {"a": 1}, part="p", index=0) == {"a": 1}
    assert kept().row(lambda: {"a": 2}, index=0, part="p") == {"a": 1}
    assert kept().row(lambda: {"a": 3}, part="p", index=1) == {"a": 3}
    assert kept().row(lambda: {"a": 4}, again=True, part="p", index=1) == {"a": 4}
    with (tmp_path / "kept.jsonl").open("a") as file:
        file.write('{"key": {"data": ')  # it was killed here
    again = kept()
    assert again.row(lambda: {"a": 5}, part="p", index=1) == {"a": 4}
    assert len(again.commits) == 1


def test_shares_are_disjoint_and_make_up_the_whole() -> None:
    shares = [Share.read(f"{own}/3").of_all("abcdefgh") for own in range(3)]
    assert shares == [["a", "d", "g"], ["b", "e", "h"], ["c", "f"]]
    for text in ("2/2", "1", "a/2", "-1/2"):
        with pytest.raises(BadInput, match="OWN/OF"):
            Share.read(text)


def test_a_result_is_written_when_all_parts_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"commit": "abc"}
    networks = [
        {"kind": "accuracy", "method": "synthesis", "family": "mlp", "accuracy": 0.9, "split": s} for s in SPLITS
    ]
    asked = {"target": 2, "rates": "one rate", "median": 4.0, "geometric_mean": 4.0, "min": 3.0, "networks": 1}
    starts = {"accuracy": 0.99, "init_dependence": 0.9, "function_dependence": 0.8, "start_affinity": 0.95}
    rows = {
        "accuracy": networks,
        "speed": [
            {"kind": "speed", "threads": 1, "median": 0.25},
            {"kind": "speed", "threads": 1, "median": 0.5},
            {"kind": "tracing", "median": 0.125},
        ],
        "finetune": [{"kind": "finetune summary", **asked}],
        "overlap": [{"kind": "overlap", "overlap": 0.5, "independent_overlap": 0.375}],
        "start": [{"kind": "start", **starts}],
        "training": [{"kind": "training", "peak_rss_mb": 1500.0}],
        "others": [{"kind": "other generator", "generator": name} for name in COMPARED],
    }
    documents = {
        part: {"environment": environment, "budget": {}, "weights": "w", "rows": rows.get(part, [])} for part in PARTS
    }
    file = tmp_path / "universal.json"
    assemble({part: documents[part] for part in PARTS if part != "start"}, file)
    assert "still to be done: --parts start" in capsys.readouterr().out
    assemble({**documents, "speed": {**documents["speed"], "weights": "other"}}, file)
    assert "still to be done: --parts speed" in capsys.readouterr().out
    assemble({**documents, "others": {**documents["others"], "rows": rows["others"][:1]}}, file)
    assert "still to be compared with, in --others: ghn, flow" in capsys.readouterr().out
    assert not file.exists()
    assemble(documents, file)
    found = json.loads(file.read_text())
    assert found["headline"] == {
        **{f"{split}_{name}": 0.9 for split in SPLITS if split != "training" for name in ("median", "p05")},
        **{"start_conditioned_accuracy": 0.99, "init_dependence": 0.9, "function_dependence": 0.8},
        **{"start_affinity": 0.95, "error_overlap": 0.5, "independent_error_overlap": 0.375},
        **{"seconds_per_network": 0.5, "tracing_seconds": 0.125, "finetune_epoch_ratio": 4.0},
        "training_peak_rss_mb": 1500.0,
    }
    assert len([row for row in found["rows"] if row["kind"] == "summary"]) == 2 * len(SPLITS)


def test_what_is_typed_becomes_the_budget() -> None:
    wanted = options().parse_args(["--compared", "7", "--others", "one=a", "two=b"])
    assert (Budget.of(wanted), wanted.others) == (Budget(compared=7), ["one=a", "two=b"])
    assert "ghn=runs/benchmarks/universal-ablations/ghn" in options().parse_args([]).others


def test_parts_follow_one_another_and_must_have_measured_the_same_weights() -> None:
    assert chosen_parts(None) == list(PARTS)
    assert chosen_parts(["start", "nearest_zoo", "inits", "trained"]) == ["trained", "nearest_zoo", "inits", "start"]
    assert "ridge_head" in chosen_parts(["baselines"])
    assert differing({"accuracy": "a", "speed": "a", "overlap": "b", "inits": ""}) == ["overlap"]


class OfTheInit:
    """Answers with what it is given."""

    def from_start(self, blueprint: Blueprint, given: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
        return given


def test_a_generator_that_does_not_start_from_weights_is_refused() -> None:
    with pytest.raises(BadInput, match="does not start from given weights"):
        Source("plain", object(), "mark", {}).require_from_start()
    with pytest.raises(BadInput, match="peak_rss_mb"):
        Source("plain", object(), "mark", {"loss": 1.0}).training()
    assert Source("s", None, "m", {"peak_rss_mb": 7.5, "log": [1]}).training()["peak_rss_mb"] == 7.5


def test_only_states_that_fit_are_loaded(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(BadInput, match="does not fit a hypernetwork"):
        load_source("synthesis", tmp_path / "other.pt")
    marks = []
    for make in (make_universal, make_tiled):
        torch.save(make(1).network.state_dict(), tmp_path / "own.pt")
        found = load_source("synthesis", tmp_path / "own.pt")
        assert type(found.generator) is type(make(0))
        marks.append(found.mark)
    assert len(set(marks)) == 2


def test_a_variant_is_read_with_what_it_was_made_of(tmp_path: Path) -> None:
    generator = universal_ablations.VARIANTS["rank-64"].make(3)
    universal_ablations.save(generator, "rank-64", tmp_path, {"minutes": 7.5})
    found = load_source("narrow", tmp_path)
    assert found.told() == {"generator": "narrow", "minutes": 7.5}
    assert found.generator.network.sizes == generator.network.sizes
    for name, value in generator.network.state_dict().items():
        assert torch.equal(found.generator.network.state_dict()[name], value)


def test_a_folder_is_loaded_with_what_its_training_said(tmp_path: Path) -> None:
    small_universal().with_provenance({"peak_rss_mb": 7.5, "families": {"mlp": 1}}).save(tmp_path / "one")
    source = load_source("synthesis", tmp_path / "one")
    assert source.training() == {"kind": "training", "generator": "synthesis", "peak_rss_mb": 7.5}
    with pytest.raises(BadInput, match="there is no synthesizer at"):
        load_source("synthesis", tmp_path / "none")


@pytest.mark.slow
def test_every_part_on_the_embedded_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(make_universal(0).network.state_dict(), tmp_path / "state.pt")
    few = "--architectures 1 --compared 1 --trained 1 --zoo 3 --overlapping 1 --finetuned 1 --inits 5 --init-epochs 1"
    short = "--traced 1 --repeats 1 --epochs 1 --patience 1 --ridge-images 200 --finetune-epochs 2 --rate-epochs 1"
    parts = [part for part in PARTS if part not in ("start", "training")]
    arguments = ["--dataset", "digits", "--synthesizer", "state.pt", "--others", "other=state.pt", "--parts", *parts]
    main([*few.split(), *short.split(), "--share", "1/2", *arguments])
    assert not list(tmp_path.rglob("part-*.json")), "a share is not the whole"
    main([*few.split(), *short.split(), *arguments])
    work = tmp_path / "runs" / "benchmarks" / "universal" / "digits"
    found = {part: json.loads((work / f"part-{part}.json").read_text())["rows"] for part in parts}
    source = Source("start", OfTheInit(), "mark", {})
    found["start"] = start.measured(source, load_dataset("digits"), Budget(inits=5, init_epochs=1), work)
    figures = headline(found)
    assert figures["start_affinity"] < 0.5, "one short epoch does not go far from its init"
    assert figures["init_dependence"] == pytest.approx(1, abs=0.2)
    assert 0 <= figures["unseen_size_median"] <= 1
    assert figures["tracing_seconds"] > 0
    methods = {row["method"] for part in parts for row in found[part] if row["kind"] == "accuracy"}
    assert methods == {"synthesis", "other", "random_init", "ridge_head", "nearest_zoo", "one_epoch", "converged"}
