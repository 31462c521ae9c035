from __future__ import annotations

import pytest
import torch
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset, Split
from weightsmith.evaluation.dependence import Dependence, Spread
from weightsmith.evaluation.distance import NetworkDistance, mean_disagreement
from weightsmith.evaluation.histograms import weight_histograms
from weightsmith.layout import Weights

MLP = Architecture("mlp", (1, 3, 5), 4, {"hidden": [8, 6]})
IMAGES = torch.randn(9, 1, 3, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(9, dtype=torch.int64)


def data(images: torch.Tensor) -> Dataset:
    split, active = Split(images, LABELS), (images != images[0]).any(dim=0)
    return Dataset("made up", split, split, split, 4, (1, 3, 5), "f", "a test", active)


def distance() -> NetworkDistance:
    return NetworkDistance.of(MLP.build(0), data(IMAGES))


def permuted_and_scaled(module: nn.Module) -> Weights:
    state = {name: value.clone() for name, value in module.state_dict().items()}
    order, scale = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4]), torch.linspace(0.3, 4, 8)
    state["fc1.weight"] = state["fc1.weight"][order] * scale[:, None]
    state["fc1.bias"] = state["fc1.bias"][order] * scale
    state["fc2.weight"] = state["fc2.weight"][:, order] / scale
    return Weights.of(module).layout.flatten([state])


def test_symmetric_copies_are_at_distance_zero() -> None:
    measure, module = distance(), MLP.build(1)
    one, copy = measure.canonical(Weights.of(module)), measure.canonical(permuted_and_scaled(module))
    assert float(measure.between(copy, one)) < 1e-6
    assert float((copy.vectors - one.vectors).norm()) > 0.1


def test_the_distance_is_relative_and_symmetric() -> None:
    unaligned = NetworkDistance(None, torch.ones(1), torch.zeros(1))
    layout = Weights.of(nn.Linear(1, 1)).layout
    networks = Weights.generated(layout, torch.tensor([[3.0, 0.0], [0.0, 4.0], [6.0, 0.0]]))
    found = unaligned.between(networks, networks)
    assert found[0, 1] == found[1, 0] == pytest.approx(2 * 5 / 7)
    assert found[0, 2] == pytest.approx(2 * 3 / 9)
    assert found.diagonal().tolist() == [0, 0, 0]
    nearest = unaligned.nearest(networks, networks[1:])
    assert [distance for distance, _ in nearest] == pytest.approx([2 / 3, 0, 0])
    assert [position for _, position in nearest] == [1, 0, 1]
    assert unaligned.mean_pairwise(networks) == pytest.approx(float(found[0, 1] + found[0, 2] + found[1, 2]) / 3)
    assert unaligned.mean_pairwise(networks[:1]) is None


def test_weights_of_inputs_that_never_vary_do_not_count() -> None:
    images = IMAGES.clone()
    images[:, 0, 0, 0] = -0.42
    measure = NetworkDistance.of(MLP.build(0), data(images))
    module, changed = MLP.build(1), MLP.build(1)
    with torch.no_grad():
        changed.fc1.weight[:, 0] += 0.5
        changed.fc1.bias += 0.5 * 0.42
    first, second = measure.canonical(Weights.of(module)), measure.canonical(Weights.of(changed))
    assert float(measure.between(first, second)) < 1e-5


def test_disagreement_is_the_share_of_differing_predictions_over_all_pairs() -> None:
    predictions = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4], [5, 5, 2, 3]])
    assert mean_disagreement(predictions) == pytest.approx((1 / 4 + 2 / 4 + 3 / 4) / 3)
    assert mean_disagreement(predictions[:1]) is None


def test_dependence_is_the_ratio_of_spreads() -> None:
    found = Dependence.of(Spread(0.2, 0.01, 5), Spread(0.8, 0.04, 3))
    assert found.init_dependence == pytest.approx(0.25)
    assert found.function_dependence == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("outputs", "independent"),
    [
        (Spread(0.2, 0.01, 4), Spread(0.8, 0.04, 3)),
        (Spread(0.2, 0.01, 5), Spread(0.8, 0.04, 2)),
        (Spread(0.2, 0.01, 5), Spread(0.0, 0.0, 3)),
        (Spread(None, None, 5), Spread(0.8, 0.04, 3)),
    ],
)
def test_too_few_networks_or_no_spread_give_none(outputs: Spread, independent: Spread) -> None:
    found = Dependence.of(outputs, independent)
    assert found.init_dependence is None
    assert found.function_dependence is None


def test_identical_outputs_do_not_depend_on_the_init_and_independent_ones_do() -> None:
    measure = distance()
    independent = measure.canonical(Weights.of(*[MLP.build(seed) for seed in range(5)]))
    same = Weights.concatenate([independent[0]] * 5)
    predictions = torch.randint(0, 4, (5, 30), generator=torch.Generator().manual_seed(0))
    base = Spread.of(measure, independent, predictions)
    fixed = Dependence.of(Spread.of(measure, same, predictions[:1].expand(5, -1)), base)
    assert fixed.init_dependence == pytest.approx(0, abs=1e-6)
    assert fixed.function_dependence == 0
    assert Dependence.of(base, base).init_dependence == 1


def test_histograms_are_densities_of_the_weights_of_each_layer() -> None:
    networks = {"a": Weights.of(MLP.build(0)), "b": Weights.of(MLP.build(1))}
    found = weight_histograms(networks)
    assert set(found) == {"fc1.weight", "fc2.weight", "fc3.weight"}
    for layer in found.values():
        width = layer["edges"][1] - layer["edges"][0]
        for density in layer["density"].values():
            assert sum(density) * width == pytest.approx(1, abs=1e-3)
