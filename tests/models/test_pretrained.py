"""The synthesizers that come with the package: there, small, and as good as their card says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightsmith as ws
from weightsmith.architectures import Architecture
from weightsmith.datasets import mnist_is_available
from weightsmith.errors import BadInput
from weightsmith.layout import Layout
from weightsmith.pretrained import FROM_START, SAMPLED, UNIVERSAL, synthesizer_folder


@pytest.mark.parametrize("name", SAMPLED)
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


@pytest.mark.parametrize("name", UNIVERSAL.values())
def test_each_universal_one_is_small_and_says_how_it_was_trained(name: str) -> None:
    folder = synthesizer_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    assert {"command", "phases", "peak_rss_mb"} <= set(ws.UniversalSynthesizer.load(folder).provenance)


@pytest.mark.parametrize("name", FROM_START)
def test_each_that_begins_at_given_weights_is_small_and_says_how_it_was_trained(name: str) -> None:
    folder = synthesizer_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    assert {"command", "trained on", "updates"} <= set(ws.UniversalSynthesizer.load(folder).provenance)


@pytest.mark.skipif(not mnist_is_available(), reason="MNIST cannot be had here")
def test_one_pass_from_an_initialisation_of_the_cnn_works_and_depends_on_it() -> None:
    data, cnn = ws.load_dataset("mnist"), Architecture("target_cnn", (1, 28, 28), 10)
    first, second = ws.synthesize(cnn.build(0), n=2, seed=5, synthesizer="mnist-cnn-start")
    found = ws.evaluate(cnn.build(0), Layout.of(cnn.build(0)).flatten([first, second]), data.test.head(2000))
    assert min(one.accuracy for one in found) > 0.97
    kernels = [state["conv2.weight"].flatten() for state in (first, second)]
    assert float(F.cosine_similarity(*kernels, dim=0)) < 0.5


class Unseen(nn.Module):
    """Widths and a way of putting layers together that no training has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 22, 5, stride=2, padding=2)
        self.wide = nn.Conv2d(22, 46, 3, padding=1)
        self.deep = nn.Conv2d(46, 46, 3, padding=1)
        self.hidden = nn.Linear(46 * 7 * 7, 90)
        self.out = nn.Linear(90, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.wide(F.relu(self.stem(x)))), 2)
        x = x + F.relu(self.deep(x))
        logits: Tensor = self.out(F.relu(self.hidden(x.flatten(1))))
        return logits


@pytest.mark.skipif(not mnist_is_available(), reason="MNIST cannot be had here")
def test_networks_of_an_architecture_that_was_never_seen_work() -> None:
    module, test = Unseen(), ws.load_dataset("mnist").test.head(2000)
    written = ws.synthesize(module, dataset="mnist", n=2, seed=5)
    found = ws.evaluate(module, Layout.of(module).flatten(written), test)
    assert min(one.accuracy for one in found) > 0.94
    assert any(not torch.equal(written[0][name], written[1][name]) for name in written[0])


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
