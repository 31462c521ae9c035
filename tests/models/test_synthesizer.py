from __future__ import annotations

from pathlib import Path

import pytest
import torch

from weightsmith.architectures import Architecture
from weightsmith.errors import ArtifactError, BadInput, LayoutMismatch
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.layout import Weights
from weightsmith.settings.options import validate_options
from weightsmith.settings.registry import DENOISERS, DIFFUSION_PATHS
from weightsmith.synthesizer import Part, Synthesizer

MLP = Architecture("mlp", (1, 3, 5), 4, {"hidden": [6]})
SMALL = Part("transition", {"hidden": 7, "time_embedding": 3, "layers": 1})


def networks(count: int) -> Weights:
    return Weights.of(*[MLP.build(seed) for seed in range(count)])


@pytest.fixture(params=["span", "flat"])
def synthesizer(request: pytest.FixtureRequest) -> Synthesizer:
    made = Synthesizer.fit(networks(4), MLP, Part(request.param), SMALL, seed=0)
    return made.with_provenance({"made for": "a test"})


def test_a_saved_synthesizer_samples_the_same(synthesizer: Synthesizer, tmp_path: Path) -> None:
    synthesizer.save(tmp_path / "s")
    loaded = Synthesizer.load(tmp_path / "s")
    assert loaded.provenance == {"made for": "a test"}
    before, after = (s.sample(3, steps=2, seed=5) for s in (synthesizer, loaded))
    assert torch.equal(before.vectors, after.vectors)
    assert not torch.equal(before.vectors, loaded.sample(3, steps=2, seed=6).vectors) or synthesizer.dim == 3
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("path", DIFFUSION_PATHS)
def test_a_saved_synthesizer_of_every_path_and_denoiser_samples_the_same(
    path: str, denoiser: str, tmp_path: Path
) -> None:
    """What follows from the options (schedules, tables) is not in the file, and must be made again when it is read."""
    options = {"path": path, "denoiser": denoiser, "width": 8, "blocks": 1, "heads": 2, "condition_width": 4}
    options = validate_options("generator", "diffusion", {**options, "given": True, "conditions": ["loss"]})
    made = Synthesizer.fit(networks(3), MLP, Part("unit", {"width": 9}), Part("diffusion", options), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.generator.network.parameters():  # what begins as zero, too, must come back
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 9)
    made.save(tmp_path / "s")
    before, after = (s.sample(3, steps=2, seed=5) for s in (made, Synthesizer.load(tmp_path / "s")))
    assert bool(before.vectors.isfinite().all())
    assert torch.equal(before.vectors, after.vectors)


def test_samples_load_into_the_network(synthesizer: Synthesizer) -> None:
    module = MLP.build(9)
    module.load_state_dict(synthesizer.sample(2).states()[1])
    assert module(torch.zeros(1, 1, 3, 5)).shape == (1, 4)


def test_a_trajectory_starts_at_the_start(synthesizer: Synthesizer) -> None:
    start = networks(2)
    states = synthesizer.trajectory(2, start=start, steps=3)
    assert len(states) == 4
    torch.testing.assert_close(states[0].vectors, start.vectors, atol=1e-5, rtol=1e-5)


def test_an_existing_folder_is_not_overwritten(synthesizer: Synthesizer, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="exists"):
        synthesizer.save(tmp_path / "s")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_unknown_conditions_and_layouts_are_refused(synthesizer: Synthesizer) -> None:
    with pytest.raises(BadInput, match="'accuracy'"):
        synthesizer.sample(2, accuracy=0.9)
    with pytest.raises(BadInput, match="colour"):
        synthesizer.sample(2, colour="red")
    other = Weights.of(Architecture("mlp", (1, 3, 5), 4, {"hidden": [7]}).build(0))
    with pytest.raises(LayoutMismatch, match=r"fc1\.weight"):
        synthesizer.sample(1, start=other)


def test_folders_that_are_no_synthesizer_are_refused(synthesizer: Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        Synthesizer.load(tmp_path)
    synthesizer.save(tmp_path / "s")
    config = read_sealed_json(tmp_path / "s" / "config.json")
    write_sealed_json(tmp_path / "s" / "config.json", config | {"schema": "weightsmith.synthesizer/99"})
    with pytest.raises(ArtifactError, match=r"weightsmith\.synthesizer/99"):
        Synthesizer.load(tmp_path / "s")


def test_the_card_may_be_edited(synthesizer: Synthesizer, tmp_path: Path) -> None:
    synthesizer.save(tmp_path / "s")
    (tmp_path / "s" / "README.md").write_text("my notes")
    Synthesizer.load(tmp_path / "s")


@pytest.mark.parametrize("codec", ["pca", "autoencoder", "flat"])
def test_a_compact_one_is_half_as_large_nearly_the_same_and_says_what_it_lost(codec: str, tmp_path: Path) -> None:
    wide = Architecture("mlp", (1, 6, 7), 4, {"hidden": [30]})
    learned = Weights.of(*[wide.build(seed) for seed in range(6)])
    options = {"latent": 8, "epochs": 1} if codec == "autoencoder" else {}
    generator = Part("diffusion", {"width": 64, "blocks": 1, "steps": 2})
    made = Synthesizer.fit(learned, wide, Part(codec, options), generator, seed=0)
    made.save(tmp_path / "whole")
    made.save(tmp_path / "compact", compact=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "compact")]
    assert sizes[1] < 0.65 * sizes[0]
    loaded = Synthesizer.load(tmp_path / "compact")
    assert {parameter.dtype for parameter in loaded.generator.network.parameters()} == {torch.float32}
    before, after = (one.sample(3, seed=1).vectors for one in (made, loaded))
    assert 0 < float((after - before).norm() / before.norm()) < 0.02 or codec == "flat"
    assert loaded.codec.exactness == ("everywhere" if codec == "flat" else "lossy")
    assert ("lossy" in (tmp_path / "compact" / "README.md").read_text()) == (codec != "flat")
    loaded.save(tmp_path / "again", compact=True)
    again = Synthesizer.load(tmp_path / "again")
    assert torch.equal(again.sample(3, seed=1).vectors, after)
    assert again.codec.exactness == loaded.codec.exactness
