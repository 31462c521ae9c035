"""A saved universal synthesizer: whole or refused at every byte, of its own kind, and nothing in it is executed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from damage import cut, flipped
from small_universal import Perceptron, small_universal

import weightsmith as ws
from weightsmith import pretrained
from weightsmith.architectures import Architecture
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.layout import Weights
from weightsmith.settings.universal import HypernetworkConfig
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.universal import UniversalSynthesizer

SMALLEST = HypernetworkSizes(noise=1, dim=1, rank=1, depth=1, heads=1)


def networks(universal: UniversalSynthesizer) -> list[dict[str, torch.Tensor]]:
    return list(universal.synthesize(Perceptron(), 2, seed=3).networks)


def same(one: UniversalSynthesizer, other: UniversalSynthesizer) -> bool:
    pairs = list(zip(networks(one), networks(other), strict=True))
    equal = all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)
    return equal and one.covers == other.covers and one.provenance == other.provenance


def test_a_saved_one_writes_the_same(tmp_path: Path) -> None:
    made = small_universal()
    made.save(tmp_path / "s", compact=False)
    assert same(UniversalSynthesizer.load(tmp_path / "s"), made)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "8x8 of digits" in (tmp_path / "s" / "README.md").read_text()


def test_a_config_holds_every_size_that_a_hypernetwork_has() -> None:
    assert set(HypernetworkConfig.model_fields) == {field.name for field in fields(HypernetworkSizes)}


def test_a_compact_one_is_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    made = small_universal(HypernetworkSizes(noise=8, dim=32, rank=32, depth=1, heads=2))
    made.save(tmp_path / "whole", compact=False)
    made.save(tmp_path / "compact")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "compact")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded = UniversalSynthesizer.load(tmp_path / "compact")
    assert {parameter.dtype for parameter in loaded.generator.network.parameters()} == {torch.float32}
    before, after = (networks(one)[0]["first.weight"] for one in (made, loaded))
    assert 0 < float((after - before).norm() / before.norm()) < 0.05
    loaded.save(tmp_path / "again")
    assert same(UniversalSynthesizer.load(tmp_path / "again"), loaded)


def cut_now_and_then(data: bytes) -> Iterator[bytes]:
    return itertools.islice(cut(data), None, None, 13)


@pytest.mark.parametrize("damaged", [cut_now_and_then, flipped])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_at_any_byte_is_refused(tmp_path: Path, name: str, damaged: Callable[[bytes], Iterator[bytes]]) -> None:
    folder, made = tmp_path / "s", small_universal(SMALLEST)
    made.save(folder)
    data = (folder / name).read_bytes()
    for changed in damaged(data):
        (folder / name).write_bytes(changed)
        with pytest.raises(ArtifactError, match=r".+"):
            UniversalSynthesizer.load(folder)
    (folder / name).write_bytes(data)
    (folder / "README.md").write_bytes(b"\xff")
    UniversalSynthesizer.load(folder)


FORGERIES: list[tuple[str, Any]] = [
    ("schema", "weightsmith.universal/3"),
    ("generator", None),
    ("generator.name", "transition"),
    ("generator.options.dim", 3),
    ("generator.options.dim", 10**9),
    ("generator.options.depth", 10**9),
    ("generator.options.heads", 0),
    ("generator.options.spam", 1),
    ("covers", None),
    ("covers.classes", "ten"),
    ("covers.input_shape", [1, 8]),
    ("covers.units", [9, 3]),
    ("covers.units", [3]),
    ("covers.operations", "linear"),
    ("model_sha256", "0" * 64),
    ("provenance", None),
]


@pytest.mark.parametrize(("path", "value"), FORGERIES)
def test_a_config_that_is_whole_and_wrong_is_refused(tmp_path: Path, path: str, value: Any) -> None:
    small_universal(SMALLEST).save(tmp_path / "s")
    document = read_sealed_json(tmp_path / "s" / "config.json")
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    write_sealed_json(tmp_path / "s" / "config.json", document)
    with pytest.raises(ArtifactError) as caught:
        UniversalSynthesizer.load(tmp_path / "s")
    assert caught.value.remedy


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(BadInput, match="exists"):
        small_universal(SMALLEST).save(tmp_path / "s")
    assert not list((tmp_path / "s").iterdir())


def test_each_kind_of_synthesizer_says_what_the_other_is_for(tmp_path: Path, program: Run) -> None:
    form = Architecture("mlp", (1, 2, 2), 2, {"hidden": [2]})
    part = Part("transition", {"time_embedding": 1, "hidden": 1, "layers": 1})
    Synthesizer.fit(Weights.of(form.build(0), form.build(1)), form, Part("flat"), part, 0).save(tmp_path / "one")
    small_universal(SMALLEST).save(tmp_path / "all")
    with pytest.raises(ArtifactError, match=r"is a universal synthesizer(.|\n)*weightsmith synthesize"):
        Synthesizer.load(tmp_path / "all")
    with pytest.raises(ArtifactError, match=r"is a synthesizer of one architecture(.|\n)*weightsmith sample"):
        UniversalSynthesizer.load(tmp_path / "one")
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        UniversalSynthesizer.load(tmp_path)
    for command in ("sample", "evaluate"):
        done = program(command, "all")
        assert done.returncode == 2
        assert "`weightsmith synthesize`" in done.stderr
        assert "Traceback" not in done.stderr


def test_one_that_comes_along_is_found_by_name_and_named_while_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "installed" / "__init__.py"))
    with pytest.raises(BadInput, match="'mnist-universal' is not part of this installation"):
        ws.synthesize(Perceptron())
    small_universal(SMALLEST).save(tmp_path / "installed" / "mnist-universal")
    assert same(
        UniversalSynthesizer.load("mnist-universal"),
        UniversalSynthesizer.load(tmp_path / "installed" / "mnist-universal"),
    )
    with pytest.raises(BadInput, match=r"mnist-universl is no folder(.|\n)*nearest is 'mnist-universal'"):
        ws.synthesize(Perceptron(), synthesizer="mnist-universl")
