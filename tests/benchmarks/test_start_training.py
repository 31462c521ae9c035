"""The training of a synthesizer that begins at given weights: in seconds, interrupted, and gone on from others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_universal import DIGITS, small_started, small_universal

import weightsmith as ws
from benchmarks import universal_start_training as training
from benchmarks.phases import AVERAGED, LOG
from benchmarks.universal_start_training import Wanted, begun, train
from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.errors import BadInput, Interrupted
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.tensorfile import write_tensors
from weightsmith.universal import UniversalSynthesizer

FORM = Architecture("target_cnn", (1, 8, 8), 10, {"channels1": 4, "channels2": 5, "hidden": 6})


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("begin") / "s"
    small_universal(HypernetworkSizes(noise=9, dim=8, rank=5, depth=1, heads=2)).save(folder, compact=False)
    return str(folder)


@pytest.fixture
def wanted(begin: str) -> Wanted:
    return Wanted(updates=6, draws=2, workers=1, begin=begin, epoch=2, shift=1)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "IMAGES", 50)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(wanted: Wanted, out: Path) -> Path:
    return train(wanted, FORM, load_dataset(DIGITS), DIGITS, out)


def test_a_training_that_was_interrupted_comes_to_the_same(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(wanted, tmp_path / "whole")
    calls = iter(range(100))

    def check() -> None:
        if next(calls) == 3:
            raise Interrupted(15)

    monkeypatch.setattr("benchmarks.phases.check_interrupted", check)
    with pytest.raises(Interrupted):
        trained(wanted, tmp_path / "parts")
    assert not (tmp_path / "parts" / AVERAGED).exists()
    with pytest.raises(BadInput, match=r"holds a training with draws=2, not 3"):
        trained(replace(wanted, draws=3), tmp_path / "parts")
    parts = trained(wanted, tmp_path / "parts")
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "parts" / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert trained(wanted, tmp_path / "parts") == parts, "it is done"
    assert next(calls) < 20


def test_what_comes_of_it_is_a_synthesizer_that_says_what_it_is(wanted: Wanted, tmp_path: Path) -> None:
    found = UniversalSynthesizer.load(trained(wanted, tmp_path / "run"))
    assert found.begins_at_weights
    assert found.generator.network.sizes.start_share == 0.5
    assert found.covers.extent.parameters == (sum(p.numel() for p in FORM.build(0).parameters()),) * 2
    stated = {"updates": 6, "draws": 2, "shift": 1, "start_share": 0.5}
    assert {key: found.provenance[key] for key in stated} == stated
    assert found.provenance["peak_rss_mb"] > 10
    assert len(ws.synthesize(FORM.build(1), n=2, synthesizer=found)) == 2


def test_minutes_are_turned_into_updates_once(wanted: Wanted, tmp_path: Path) -> None:
    short = replace(wanted, updates=None, minutes=1e-4)
    found = UniversalSynthesizer.load(trained(short, tmp_path / "run"))
    assert found.provenance["updates"] == 2
    assert found.provenance["minutes"] == 1e-4


def test_a_training_goes_on_from_a_body_or_from_a_whole(begin: str, tmp_path: Path) -> None:
    body = UniversalSynthesizer.load(begin).generator.network.state_dict()
    for name, value in begun(Wanted(begin=begin)).network.body.state_dict().items():
        assert torch.equal(value, body[name])
    started = small_started(0.25)
    started.save(tmp_path / "started", compact=False)
    whole = begun(Wanted(begin=str(tmp_path / "started"), start_share=0.75)).network
    assert whole.sizes.start_share == 0.75
    assert all(
        torch.equal(value, whole.state_dict()[name]) for name, value in started.generator.network.state_dict().items()
    )
    write_tensors(tmp_path / AVERAGED, begun(Wanted()).network.body.state_dict())
    begun(Wanted(begin=str(tmp_path / AVERAGED)))
    write_tensors(tmp_path / "odd.safetensors", body)
    with pytest.raises(BadInput, match="not those of a hypernetwork of the usual sizes"):
        begun(Wanted(begin=str(tmp_path / "odd.safetensors")))
    with pytest.raises(BadInput, match="is no folder"):
        begun(Wanted(begin="nowhere"))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"updates": 0}, "updates=0"), ({"minutes": -1.0}, "minutes=-1"), ({"start_share": 1.0}, "start_share=1")],
)
def test_what_cannot_be_trained_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Wanted(**options)  # type: ignore[arg-type]
