"""A zoo of many architectures goes on where it stopped and keeps functions; ablations train on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import universal_ablations as ablations
from benchmarks.universal_ablations import VARIANTS, Variant
from weightsmith.architectures.families import drawing
from weightsmith.datasets import DatasetRequest, load_dataset
from weightsmith.ensemble import evaluate
from weightsmith.errors import BadInput
from weightsmith.generators.graph_flow import make_graph_flow
from weightsmith.generators.tiled import make_tiled
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.tiled import TiledSizes
from weightsmith.layout import Weights
from weightsmith.pipeline.mixed import MixedZooPlan, build_mixed_zoo, read_checkpoints
from weightsmith.zoo import Zoo

DIGITS = DatasetRequest("digits", validation=300)
SIZES = HypernetworkSizes(noise=8, dim=16, rank=8, depth=1, heads=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoos") / "mixed"
    build_mixed_zoo(folder, DIGITS, MixedZooPlan(1, epochs=1), on_row=lambda text: None)
    build_mixed_zoo(folder, DIGITS, MixedZooPlan(2, epochs=1), on_row=lambda text: None)
    return folder


def test_a_build_goes_on_and_what_is_stored_computes_what_was_measured(folder: Path) -> None:
    zoo, data = Zoo.open(folder), load_dataset(DIGITS)
    assert [row.run for row in zoo.rows] == [0, 1]
    checkpoints = read_checkpoints(zoo)
    assert [one.fingerprint for one in checkpoints.architectures] == [
        drawing.draw("training", number, data.input_shape, data.classes).fingerprint for number in range(2)
    ]
    accuracies = []
    for row, architecture, weights in zip(zoo.rows, checkpoints.architectures, checkpoints.weights, strict=True):
        module = architecture.build(0)
        module.load_state_dict(weights)
        found = evaluate(module, Weights.of(module), data.validation)[0].accuracy
        assert found == pytest.approx(row.metrics["accuracy"], abs=0.01)
        accuracies.append(found)
    assert max(accuracies) > 0.3, "one epoch teaches some of them something"


def test_another_plan_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="was built as"):
        build_mixed_zoo(folder, DIGITS, MixedZooPlan(2, epochs=3), on_row=lambda text: None)


@pytest.mark.parametrize(
    ("which", "variant"),
    [
        pytest.param(
            "flow", Variant(lambda seed: make_graph_flow(seed, SIZES, steps=2), "flow"), marks=pytest.mark.slow
        ),
        ("both", Variant(lambda seed: make_graph_flow(seed, SIZES, steps=2), "both")),
        ("ghn", Variant(lambda seed: make_tiled(seed, TiledSizes(dim=16, depth=1, heads=2, hidden=8, tile=16)))),
    ],
)
def test_variants_are_trained_resumed_and_saved(
    which: str, variant: Variant, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "UPDATES", 1)
    monkeypatch.setitem(VARIANTS, which, variant)  # type: ignore[arg-type]
    shared = ["--which", which, "--out", str(tmp_path), "--zoo", str(folder), "--dataset", "digits"]
    small = ["--networks", "1", "--pool", "1"]
    minutes = 1e-7
    for _ in range(2):
        wanted = ablations.options().parse_args([*shared, *small, "--minutes", str(minutes)])
        told = ablations.run(wanted)
        minutes = told["seconds"] / 60 + 1e-7
    log = (tmp_path / which / "log.jsonl").read_text().splitlines()
    assert len(log) == told["epoch"] == told["updates"] == 2
    loaded, kept = ablations.load(tmp_path / which)
    assert kept == told
    assert all(torch.isfinite(value).all() for value in loaded.network.state_dict().values())
