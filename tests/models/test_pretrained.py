"""The synthesizers that come with the package: there, small, and as good as their card says."""

from __future__ import annotations

from pathlib import Path

import pytest

import weightsmith as ws
from weightsmith.datasets import mnist_is_available
from weightsmith.errors import BadInput
from weightsmith.pretrained import OF_ONE_ARCHITECTURE, synthesizer_folder


@pytest.mark.parametrize("name", OF_ONE_ARCHITECTURE)
def test_each_is_small_and_says_what_it_was_made_from(name: str) -> None:
    folder = synthesizer_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    loaded = ws.Synthesizer.load(folder)
    assert {"data set", "trained on", "command"} <= set(loaded.provenance)
    assert len(loaded.sample(3, seed=2)) == 3


@pytest.mark.skipif(not mnist_is_available(), reason="MNIST cannot be had here")
def test_the_perceptrons_for_mnist_work() -> None:
    synthesizer, data = ws.Synthesizer.load(synthesizer_folder("mnist-mlp")), ws.load_dataset("mnist")
    found = ws.evaluate(synthesizer.architecture.build(0), synthesizer.sample(8, seed=3), data.test)
    accuracies = [one.accuracy for one in found]
    assert sum(accuracies) / len(accuracies) > 0.94


def test_a_folder_goes_before_a_name_and_nothing_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert synthesizer_folder("mnist-mlp").is_absolute()
    (tmp_path / "mnist-mlp").mkdir()
    assert synthesizer_folder("mnist-mlp") == Path("mnist-mlp")
    with pytest.raises(BadInput, match="mnist-mpl is no folder") as caught:
        synthesizer_folder("mnist-mpl")
    assert "nearest is 'mnist-mlp'" in caught.value.remedy
