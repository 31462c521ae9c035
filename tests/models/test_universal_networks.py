"""Networks for modules never seen before: complete, different, reproducible, and the module left as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_universal import (
    DIGITS,
    SHAPE,
    Branching,
    Cumulative,
    Flat,
    Normalised,
    Perceptron,
    Tied,
    Undecided,
    small_started,
    small_universal,
)
from torch import nn
from torch.nn import functional as F

import weightsmith as ws
from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint, HypernetworkSizes
from weightsmith.universal import Coverage, SynthesisWarning, UniversalSynthesizer, writing

MODULES: tuple[Callable[[], nn.Module], ...] = (Perceptron, Tied, Normalised, Cumulative)


@pytest.fixture(scope="module")
def universal() -> UniversalSynthesizer:
    return small_universal()


@pytest.fixture(autouse=True)
def _warnings_are_not_the_point(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(writing, "_poor", lambda *_: [])  # an untrained synthesizer is no better than chance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SynthesisWarning)
        yield


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("build", MODULES)
def test_networks_load_differ_and_follow_from_seed_and_number(
    universal: UniversalSynthesizer, build: Callable[[], nn.Module]
) -> None:
    module = build()
    found = ws.synthesize(module, n=3, seed=5, synthesizer=universal)
    for state in found:
        module.load_state_dict(state, strict=True)
        assert all(bool(value.isfinite().all()) for value in state.values())
        assert not any(value.requires_grad for value in state.values())
    learned = [name for name, value in found[0].items() if value.ndim > 1 and "unread" not in name]
    equal = [name for name in learned if torch.equal(found[0][name], found[1][name])]
    assert equal == (["last.weight"] if build is Cumulative else []), "only what reads and writes no unit is the same"
    assert all(same(one, other) for one, other in zip(found, ws.synthesize(module, None, 3, 5, universal), strict=True))
    assert same(found[0], ws.synthesize(module, n=1, seed=5, synthesizer=universal)[0])
    assert not same(found[0], ws.synthesize(module, n=1, seed=6, synthesizer=universal)[0])


@pytest.mark.parametrize("build", MODULES)
def test_the_module_and_the_random_state_are_left_as_they_were(
    universal: UniversalSynthesizer, build: Callable[[], nn.Module]
) -> None:
    module = build().train()
    next(module.children()).eval()
    before, flags = copy.deepcopy(module.state_dict()), [child.training for child in module.modules()]
    own = {name: (id(value), value.requires_grad) for name, value in module.named_parameters()}
    attributes = [list(vars(child)) for child in module.modules()]
    state = torch.get_rng_state()
    ws.synthesize(module, n=2, synthesizer=universal)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(before, module.state_dict())
    assert flags == [child.training for child in module.modules()]
    assert own == {name: (id(value), value.requires_grad) for name, value in module.named_parameters()}
    assert attributes == [list(vars(child)) for child in module.modules()]
    assert not module._forward_pre_hooks


def test_tied_weights_stay_tied(universal: UniversalSynthesizer) -> None:
    module = Tied()
    state = ws.synthesize(module, n=1, synthesizer=universal)[0]
    assert torch.equal(state["one.weight"], state["two.weight"])
    assert not torch.equal(state["one.bias"], state["two.bias"])
    ws.initialize(module, synthesizer=universal)
    assert module.one.weight is module.two.weight
    with torch.device("meta"):
        unmade = Tied()
    assert same(ws.synthesize(unmade, n=1, synthesizer=universal)[0], state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_are_those_of_the_module(universal: UniversalSynthesizer, dtype: torch.dtype) -> None:
    plain = universal.synthesize(Normalised(), 1)
    found = universal.synthesize(Normalised().to(dtype), 1)
    assert found.recalibrated
    assert not found.warnings
    for name, value in found.networks[0].items():
        assert value.dtype == (torch.int64 if name.endswith("tracked") else dtype)
        expected = plain.networks[0][name].to(value.dtype)
        torch.testing.assert_close(value, expected, rtol=0.02 if "running" in name else 0, atol=1e-3)


def test_a_module_of_mixed_types_keeps_them(universal: UniversalSynthesizer) -> None:
    class Mixed(Perceptron):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.first(x.flatten(1))).double())

    module = Mixed()
    module.last.double()
    found = ws.synthesize(module, n=1, synthesizer=universal)[0]
    assert {str(value.dtype) for value in found.values()} == {"torch.float32", "torch.float64"}
    module.load_state_dict(found)


def test_meta_modules_get_values_and_those_that_cannot_are_named(universal: UniversalSynthesizer) -> None:
    with torch.device("meta"):
        module, odd = Normalised(), Cumulative()
    found = ws.synthesize(module, n=2, synthesizer=universal)
    expected = ws.synthesize(Normalised(), n=2, synthesizer=universal)
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    assert all(value.is_meta for value in module.state_dict().values())
    module.load_state_dict(found[1], assign=True)
    with pytest.raises(BadInput, match=r"tensor 'shift' of Cumulative is not generated, .* and has no value"):
        ws.synthesize(odd, synthesizer=universal)
    with pytest.raises(BadInput, match="meta device, where nothing can be written"):
        ws.initialize(odd, synthesizer=universal)


def test_the_default_device_of_a_user_does_not_matter(universal: UniversalSynthesizer) -> None:
    with torch.device("meta"):
        found = ws.synthesize(Normalised(), n=1, synthesizer=universal)[0]
    assert same(found, ws.synthesize(Normalised(), n=1, synthesizer=universal)[0])


def test_what_is_not_understood_is_named_and_initialised_in_the_standard_way(universal: UniversalSynthesizer) -> None:
    module = Cumulative()
    found = universal.synthesize(module, 2)
    untouched = {one.tensor: one for one in found.reading.untouched}
    assert {"marks", "count", "unread.weight", "unread.bias"} <= set(untouched)
    assert untouched["unread.weight"].path == "unread"
    one, other = found.networks
    assert not torch.equal(one["unread.weight"], other["unread.weight"])
    assert float(one["unread.weight"].abs().max()) <= 2**-0.5  # nn.Linear's own: uniform up to 1 / sqrt(inputs)
    for name in ("marks", "count"):
        assert torch.equal(one[name], module.state_dict()[name])
        assert untouched[name].source == "stands"
    assert any("'cumsum' is not understood" in text for text in found.warnings)
    told = "marks: as in the module, since no operation reads it"
    assert [line for line in found.lines if told in line] == [f"not generated: {told}"], "once"
    with pytest.raises(BadInput, match="'cumsum' is not understood"):
        universal.synthesize(module, 2, strict=True)
    with pytest.warns(SynthesisWarning, match="cumsum"):
        ws.synthesize(module, n=1, synthesizer=universal)


def test_statistics_are_those_of_training_images(universal: UniversalSynthesizer) -> None:
    module = Normalised()
    module.norm.running_mean.fill_(3.0)
    found = universal.synthesize(module, 2)
    assert found.recalibrated
    train = load_dataset(DIGITS).train.images
    for state, before in zip(found.networks, found.as_generated, strict=True):
        inputs = nn.functional.conv2d(train, state["convolve.weight"], state["convolve.bias"])
        means = torch.stack([batch.mean((0, 2, 3)) for batch in inputs.split(500)])
        torch.testing.assert_close(state["norm.running_mean"], means.mean(0), rtol=1e-4, atol=1e-5)
        assert torch.equal(before["norm.running_mean"], torch.full((5,), 3.0))
        assert all(
            torch.equal(state[name], before[name]) for name in state if ".running" not in name and "num" not in name
        )
    left = universal.synthesize(module, 2, recalibrate=False)
    assert not left.recalibrated
    assert same(left.networks[1], found.as_generated[1])
    assert any("recalibration was not wanted" in text for text in left.warnings)


def test_without_the_data_statistics_stand_and_it_is_said(
    universal: UniversalSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise EnvironmentFault("digits is neither here nor to be fetched", "")

    monkeypatch.setattr(writing, "load_dataset", missing)
    found = universal.synthesize(Normalised(), 1)
    assert not found.recalibrated
    assert found.networks[0]["norm.running_mean"].eq(0).all()
    assert any("digits cannot be had" in text for text in found.warnings)
    assert not universal.synthesize(Perceptron(), 1).warnings, "it is not needed"


def test_images_may_be_read_as_vectors(universal: UniversalSynthesizer) -> None:
    as_images = ws.synthesize(Perceptron(), n=2, synthesizer=universal)
    for shape in ((64,), 64, [np.int64(64)]):
        assert all(map(same, ws.synthesize(Flat(), n=2, synthesizer=universal, input_shape=shape), as_images))


def test_initialize_writes_in_place_and_says_what_it_did(universal: UniversalSynthesizer) -> None:
    module = Normalised().train()
    weight = module.head.weight
    done = ws.initialize(module, dataset="digits", seed=4, synthesizer=universal)
    assert module.head.weight is weight
    assert weight.requires_grad
    assert module.training
    assert same(dict(module.state_dict()), done.networks[0])
    assert same(done.networks[0], ws.synthesize(module, n=1, seed=4, synthesizer=universal)[0])
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(BadInput, match="trained for data set 'digits'"):
        ws.initialize(module, dataset="mnist", synthesizer=universal)
    assert same(before, module.state_dict())


def test_a_module_is_read_once_for_many(universal: UniversalSynthesizer) -> None:
    reading = universal.read(Perceptron())
    assert same(universal.write(reading, 1, 7).networks[0], universal.synthesize(Perceptron(), 1, 7).networks[0])


def test_weights_computed_before_every_run_are_no_obstacle(universal: UniversalSynthesizer) -> None:
    module = Perceptron()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module.first)  # leaves a tensor that cannot be copied among the attributes
    module(torch.zeros(1, 64))
    for state in ws.synthesize(module, n=2, synthesizer=universal):
        module.load_state_dict(state)


def test_a_module_that_branches_on_data_is_read_off_a_run_and_that_is_said(universal: UniversalSynthesizer) -> None:
    found = universal.synthesize(Branching(), 2)
    assert same(found.networks[0], universal.synthesize(Perceptron(), 2).networks[0])
    assert any("read off one run on an example" in text for text in found.warnings)
    with pytest.raises(BadInput, match="read off one run on an example"):
        universal.read(Branching(), strict=True)


def test_networks_without_hidden_units_are_all_the_same_and_that_is_said(universal: UniversalSynthesizer) -> None:
    found = universal.synthesize(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 2)
    assert same(*found.networks)
    assert any("all are the same" in text for text in found.warnings)


def test_what_is_drawn_anew_tells_networks_without_hidden_units_apart() -> None:
    sizes = HypernetworkSizes(noise=3, dim=8, rank=5, depth=1, heads=2, start_share=0.5)
    found = small_universal(sizes).synthesize(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 2)
    assert not same(*found.networks)
    assert not any("all are the same" in text for text in found.warnings)


def test_a_module_is_not_initialised_with_what_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    universal = small_universal()
    written = universal.generator.weights
    monkeypatch.setattr(universal.generator, "weights", lambda *a: {k: v * torch.nan for k, v in written(*a).items()})
    module = Perceptron()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(BadInput, match="weights written for Perceptron hold values that are not finite"):
        ws.initialize(module, synthesizer=universal)
    assert same(before, module.state_dict())


@pytest.mark.parametrize("shape", [(1, 11), (11,)])
def test_a_bias_with_axes_of_one_is_as_small_as_one_without(universal: UniversalSynthesizer, shape: Any) -> None:
    class Added(Perceptron):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(shape))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.first(x.flatten(1)) + self.bias))

    plans = {plan.names[0]: plan for plan in universal.read(Added()).blueprint.tensors}
    assert plans["bias"].scale == 0.1


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1, 1)])
def test_a_bias_of_channels_runs_over_them(shape: tuple[int, ...]) -> None:
    class Added(Normalised):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(shape))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.convolve(x) + self.bias).mean((2, 3)))

    assert ParameterGraph.of(Added(), SHAPE).tensors["bias"].unit_axis == shape.index(5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: -z, "operation 'negation'"),
        (lambda z: 1 - z, "operation 'subtraction'"),
        (lambda z: torch.add(z, z.relu(), alpha=-2), "operation 'subtraction'"),
        (lambda z: z - z.relu(), "operation 'subtraction'"),
    ],
)
def test_a_sign_that_is_changed_is_named(universal: UniversalSynthesizer, change: Any, said: str) -> None:
    class Changed(Perceptron):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return change(self.last(torch.relu(self.first(x.flatten(1)))))

    assert any(said in text for text in universal.synthesize(Changed(), 1).warnings)


def test_a_type_that_is_asserted_is_no_operation(universal: UniversalSynthesizer) -> None:
    class Cast(Perceptron):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.float().to(torch.float32))

    assert not universal.read(Cast(), strict=True).problems


def test_a_module_of_which_nothing_is_generated_stays_as_it_is_and_that_is_said(
    universal: UniversalSynthesizer,
) -> None:
    class Nearest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(torch.randn(10, 64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cdist(x.flatten(1), self.centres)

    module = Nearest()
    found = universal.synthesize(module, 1)
    assert same(found.networks[0], module.state_dict())
    assert any("centres: as in the module" in text for text in found.warnings)


def test_parameters_that_need_no_gradient_are_named_where_others_do(universal: UniversalSynthesizer) -> None:
    module = Perceptron()
    module.first.weight.requires_grad_(False)
    (text,) = universal.synthesize(module, 1).warnings
    assert text == "written although the module asks for no gradient of them: first.weight"
    assert not universal.synthesize(Perceptron().requires_grad_(False), 1).warnings


def test_networks_that_do_badly_on_training_images_are_named(
    universal: UniversalSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    found = universal.synthesize(Normalised(), 2)
    train = load_dataset(DIGITS).train.head(1000)
    assert found.training_accuracies == tuple(one.accuracy for one in found.evaluate(train))
    assert found.warnings[-1].startswith("badly written: no network gets more than ")
    unasked = universal.synthesize(Normalised(), 2, check=False)
    assert (unasked.training_accuracies, unasked.warnings) == (None, ())
    assert writing._poor((0.9, 0.5, 0.6, float("nan")), universal.covers)[0].startswith(
        "badly written: of networks 1, 3 "
    )
    monkeypatch.setattr(writing, "is_at_hand", lambda _: False)
    assert universal.synthesize(Normalised(), 2).training_accuracies is None


def test_what_lies_beyond_the_trained_range_is_named(universal: UniversalSynthesizer) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.head = nn.Conv2d(1, 40, 5), nn.Linear(40, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.elu(self.convolve(x)).mean((2, 3))).log_softmax(1)

    excess = universal.read(Wide()).excess
    assert [(one.what, one.tensors) for one in excess] == [
        ("activation 'elu'", ()),
        ("a convolution of 40 channels", ("convolve.weight",)),
        ("a kernel of 5x5", ("convolve.weight",)),
        ("40 units in all", ()),
        ("1,450 parameters", ()),
    ]
    assert "a convolution of 40 channels (convolve.weight), where training saw 5" in map(str, excess)
    with pytest.raises(BadInput, match=r"a convolution of 40 channels \(convolve.weight"):
        ws.synthesize(Wide(), synthesizer=universal, strict=True)
    ws.synthesize(Perceptron(), n=1, synthesizer=universal, strict=True)


class Viewed(nn.Module):
    """64-11-10, whose first weight is read in some way."""

    def __init__(self, way: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.way, self.weight, self.last = way, nn.Parameter(torch.ones(11, 64)), nn.Linear(11, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.way(self, x.flatten(1))))


@pytest.mark.parametrize(
    "way",
    [
        lambda m, x: x @ m.weight.t(),
        lambda m, x: x @ m.weight.T,
        lambda m, x: torch.matmul(x, m.weight.transpose(-1, -2)),
        lambda m, x: torch.mm(x, m.weight.permute(1, 0)),
        lambda m, x: F.linear(x, m.weight.flatten(1)),
        lambda m, x: F.linear(x, m.weight.clone().contiguous()),
        lambda m, x: F.linear(x, m.weight.view_as(m.weight)),
        lambda m, x: torch.matmul(m.weight, x.t()).t(),
    ],
)
def test_a_weight_that_is_read_through_views_is_that_of_a_linear_layer(
    universal: UniversalSynthesizer, way: Any
) -> None:
    plain = universal.synthesize(Viewed(lambda m, x: F.linear(x, m.weight)), 1)
    found = universal.synthesize(Viewed(way), 1)
    assert same(plain.networks[0], found.networks[0])
    assert not found.warnings


class Entered(nn.Module):
    """64-11-10, whose first weight has a row a unit, or a row an input."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned, self.bias, self.last = turned, nn.Parameter(torch.zeros(11)), nn.Linear(11, 10)
        self.enter = nn.Parameter(torch.ones((64, 11) if turned else (11, 64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        hidden = torch.addmm(self.bias, x, self.enter) if self.turned else F.linear(x, self.enter, self.bias)
        return self.last(torch.relu(hidden))


@pytest.mark.parametrize("started", [False, True])
def test_a_matrix_whose_rows_are_inputs_is_that_of_a_linear_layer_turned(
    universal: UniversalSynthesizer, started: bool
) -> None:
    synthesizer = small_started() if started else universal
    start = {**Entered(False).state_dict(), "enter": torch.randn(11, 64)} if started else None
    expected = synthesizer.synthesize(Entered(False), 1, start=start).networks[0]
    begun = {**start, "enter": start["enter"].t().contiguous()} if start else None
    found = synthesizer.synthesize(Entered(True), 1, start=begun)
    for name, value in {**expected, "enter": expected["enter"].t()}.items():
        torch.testing.assert_close(found.networks[0][name], value)  # sums over a turned matrix are in another order
    assert found.networks[0]["enter"].is_contiguous()
    assert not found.warnings
    blueprint = found.reading.blueprint
    assert same(dict(blueprint.read(blueprint.stored({"enter": expected["enter"]}))), {"enter": expected["enter"]})


def test_neither_a_bias_of_a_product_nor_a_buffer_is_the_matrix_of_a_layer(universal: UniversalSynthesizer) -> None:
    class Odd(Entered):
        def __init__(self) -> None:
            super().__init__(turned=True)
            self.bias = nn.Parameter(torch.zeros(1, 11))
            self.register_buffer("fixed", torch.eye(11))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.addmm(self.bias, x.flatten(1), self.enter)
            return self.last(torch.relu(hidden) @ self.fixed)

    reading = universal.read(Odd())
    plans = {plan.names[0]: plan for plan in reading.blueprint.tensors}
    assert (plans["enter"].turned, plans["bias"].turned, plans["bias"].scale) == (True, False, 0.1)
    assert any("operation 'matmul'" in text for text in reading.problems)


def test_a_matrix_on_the_right_of_a_product_is_that_of_a_linear_layer(universal: UniversalSynthesizer) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 11), nn.ReLU(), nn.Linear(11, 10))

    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Parameter(torch.ones(64, 11)), nn.Parameter(torch.ones(11, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.flatten(1) @ self.enter) @ self.leave

    found = universal.synthesize(Raw(), 1)
    assert not found.warnings
    plain = {plan.names[0]: plan for plan in universal.read(module).blueprint.tensors}
    plans = {plan.names[0]: plan for plan in found.reading.blueprint.tensors}
    for name, other in (("enter", "1.weight"), ("leave", "3.weight")):
        assert (plans[name].shape, plans[name].fan_in) == (plain[other].shape, plain[other].fan_in)
        assert plans[name].turned


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (lambda m, x: F.linear(x, m.weight - m.weight.mean(1, keepdim=True)), "operation 'reduce' on learned tensors"),
        (lambda m, x: F.linear(x, -m.weight), "operation 'identity' on learned tensors alone"),
        (lambda m, x: F.linear(x, m.weight.view(64, 11).t()), "operation 'reshape' on learned tensors alone"),
    ],
)
def test_a_weight_that_others_are_made_of_is_named(universal: UniversalSynthesizer, way: Any, said: str) -> None:
    with pytest.raises(BadInput, match=rf"{said}.*\(weight\)"):
        universal.read(Viewed(way), strict=True)


@pytest.mark.parametrize("by", ["export", "autograd"])
def test_a_tensor_that_only_operations_read_which_are_not_understood_stays_as_it_is(by: Any) -> None:
    for way in (
        lambda m, x: torch.cdist(x, m.weight),
        lambda m, x: torch.cdist(x[None], m.weight[:, :].unsqueeze(0))[0],
    ):
        graph = ParameterGraph.of(Viewed(way), SHAPE, by)
        assert graph.tensors["weight"].kind == "unknown"
        assert "cdist" in Blueprint.of(graph).untouched["weight"]


def test_coverage_is_what_was_seen_and_comes_back_from_json(universal: UniversalSynthesizer) -> None:
    covers = universal.covers
    assert (covers.dataset, covers.input_shape, covers.classes) == ("digits", SHAPE, 10)
    extent = covers.extent
    assert extent.operations == {"linear", "convolution", "batch_norm", "activation", "pool", "reduce"}
    assert extent.activations == {"relu"}
    assert (extent.channels, extent.features, extent.row_features) == ((5, 5), (9, 12), None)
    assert (extent.kernel, extent.units, extent.alone) == ((3, 3), (5, 20), frozenset())
    assert extent.depth == (2, 3)
    assert extent.parameters == (9 * 5 + 5 + 2 * 5 + 5 * 10 + 10, 64 * 11 + 11 + 11 * 9 + 9 + 9 * 10 + 10)
    assert Coverage.from_json(covers.to_json()) == covers


class Raising(Perceptron):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("a mistake of its own")


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (Perceptron, {}, r"Perceptron is not a torch.nn.Module(.|\n)*give an instance"),
    (lambda x: x, {}, "a function is not a torch.nn.Module"),
    (nn.Flatten(), {}, "Flatten has no parameters"),
    (Perceptron(), {"n": 0}, "n=0: so many"),
    (Perceptron(), {"n": -2}, "n=-2: so many"),
    (Perceptron(), {"n": "2"}, "n='2': so many"),
    (Perceptron(), {"n": 1.5}, "n=1.5: so many"),
    (Perceptron(), {"seed": -1}, "seed=-1 is no seed"),
    (Perceptron(), {"seed": None}, "seed=None is no seed"),
    (Perceptron(), {"input_shape": "64"}, "input shape '64' is not a shape"),
    (Perceptron(), {"input_shape": (8, 8.0)}, r"input shape \(8, 8.0\) is not a shape"),
    (Perceptron(), {"dataset": load_dataset(DIGITS)}, "the data set is a Dataset, not a name"),
    (Perceptron(classes=7), {}, r"gives \[2, 7\] for 2 images, not \[2, 10\]: digits has 10 classes"),
    (nn.LSTM(8, 10), {}, "Expected|gives a tuple|does not read"),
    (Flat(), {}, r"does not read images \[1, 8, 8\](.|\n)*\[64\], as input shape"),
    (Flat(), {"input_shape": (63,)}, r"input shape \[63\] does not fit images \[1, 8, 8\] of digits"),
    (Perceptron(), {"input_shape": (-8, -8)}, r"input shape \[-8, -8\] does not fit"),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), {}, "does not read images"),
    (Raising(), {}, "KeyError: 'a mistake of its own'"),
    (nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {}, "'1.weight' has no shape yet"),
    (Perceptron(), {"dataset": "mnist"}, "trained for data set 'digits', not 'mnist'"),
    (Undecided(), {}, "the operations of Undecided cannot be traced"),
]


@pytest.mark.parametrize(("module", "how", "said"), BAD)
def test_bad_input_is_named_with_a_remedy(
    universal: UniversalSynthesizer, module: Any, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        ws.synthesize(module, **{"n": 2, "synthesizer": universal, **how})
    assert caught.value.remedy
    assert caught.value.exit_status == 2


def test_a_data_set_without_a_synthesizer_is_refused() -> None:
    with pytest.raises(BadInput, match=r"trained for data set 'digits'(.|\n)*there is one for mnist"):
        ws.synthesize(Perceptron(), dataset="digits")


def test_every_family_gets_networks_of_its_own_form(universal: UniversalSynthesizer) -> None:
    forms = [Architecture(name, SHAPE, 10, options) for name, options in FAMILIES.items()]
    for form in forms:
        module = form.build(0)
        found = universal.synthesize(module, 1)
        assert not found.reading.graph.not_understood
        assert [one for one in found.reading.untouched if one.reason != "it is a buffer"] == []
        module.load_state_dict(found.networks[0])


FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {"channels": [4, 8], "blocks": [1, 1], "norm": "batch"},
    "separable": {"channels": [4, 8], "norm": "group"},
    "vit": {"patch": 4, "dim": 8, "depth": 1, "heads": 2},
    "mixer": {"patch": 4, "dim": 8, "depth": 1},
}
