from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from odd_modules import ODD, BranchingCNN, EarlyExit, odd
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightsmith.errors import BadInput
from weightsmith.graph import NotExportable, ParameterGraph
from weightsmith.graph.flow import Flow
from weightsmith.graph.groups import Group, permutation_groups
from weightsmith.graph.rules import RULES
from weightsmith.graph.walking import walk
from weightsmith.layout import Weights
from weightsmith.symmetry import Symmetry

By = Literal["export", "autograd"]
BRANCHING = {"branching", "early exit", "branching cnn"}  # their operations depend on data
PARTLY_SEEN = {"every norm": ("not_seen",), "branching cnn": ("not_seen",), "custom": ("custom_function",)}
CASES = [(name, by) for name in ODD for by in ("export", "autograd") if by == "autograd" or name not in BRANCHING]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@functools.cache
def graph(name: str, by: By | None = None) -> ParameterGraph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old weight norm
        return ParameterGraph.of(odd(name), ODD[name].shape, by=by)


def outputs(name: str, weights: Weights) -> list[Tensor]:
    """In float64, so that what is left is not rounding of what was done."""
    module = odd(name)
    module.load_state_dict(weights.states()[0])
    images = torch.randn(4, *ODD[name].shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    module = module.double()
    for child in module.modules():
        if isinstance(getattr(child, "constant", None), Tensor):
            child.constant = child.constant.double()  # type: ignore[union-attr, operator]
    return [leaf.detach() for leaf in pytree.tree_leaves(module(images))]


@functools.cache
def expected_outputs(name: str) -> list[Tensor]:
    return outputs(name, Weights.of(odd(name)))


def assert_same_function(name: str, one: Weights) -> None:
    for found, expected in zip(outputs(name, one), expected_outputs(name), strict=True):
        torch.testing.assert_close(found, expected, atol=3e-6 * float(expected.abs().max()), rtol=0)


def orders(units: int) -> Iterator[Tensor]:
    """A cycle and an exchange, which together make every order."""
    yield torch.arange(units).roll(1)
    yield torch.cat([torch.tensor([1, 0]), torch.arange(2, units)])


@pytest.mark.parametrize(("name", "by"), CASES)
def test_every_tensor_is_attributed_to_an_operation_or_said_to_be_unused(name: str, by: By) -> None:
    found, expected = graph(name, by), ODD[name]
    unused = {name for name, node in found.tensors.items() if node.operation is None}
    assert unused == {*expected.unused, *(expected.dead if by == "autograd" else ())}
    assert set(found.tensors) == {spec.name for spec in found.layout.floating}
    for node in found.tensors.values():
        if node.operation is not None:
            assert found.operation(node.operation).parameters[node.slot or ""] == node.names[0]


@pytest.mark.parametrize(("name", "by"), CASES)
def test_how_many_groups_there_are_and_what_is_not_understood(name: str, by: By) -> None:
    found, expected = graph(name, by), ODD[name]
    wanted = (expected.permutations, expected.scales)
    wanted = expected.walked or wanted if by == "autograd" else wanted
    assert (len(found.permutations), len(found.scales)) == wanted
    exported = ("cumsum",) if name == "custom" else ()
    assert found.not_understood == (PARTLY_SEEN.get(name, ()) if by == "autograd" else exported)
    assert found.traced_by == by


@pytest.mark.parametrize(("name", "by"), CASES)
def test_any_order_of_the_units_of_any_group_keeps_the_function(name: str, by: By) -> None:
    symmetry, weights = Symmetry.of_graph(graph(name, by)), Weights.of(odd(name))
    for group in symmetry.permutations:
        for order in orders(group.units):
            moved = symmetry.permute(weights, {group.name: order})
            assert not torch.equal(moved.vectors, weights.vectors)
            assert_same_function(name, moved)


@pytest.mark.parametrize(("name", "by"), CASES)
def test_any_scales_of_any_group_keep_the_function(name: str, by: By) -> None:
    symmetry, weights = Symmetry.of_graph(graph(name, by)), Weights.of(odd(name))
    rng = torch.Generator().manual_seed(3)
    for group in symmetry.scales:
        scaled = symmetry.rescale(weights, {group.name: torch.rand(group.units, generator=rng) * 3 + 0.2})
        assert not torch.equal(scaled.vectors, weights.vectors)
        assert_same_function(name, scaled)


def places(groups: tuple[Group, ...]) -> set[frozenset]:
    """Groups by where their units lie, one run of units at a time, whatever the groups are called."""
    return {
        frozenset(
            (place.tensor, place.axis, place.start + run * place.units * place.inner, place.inner, place.rows)
            for place in group.places
            for run in range(place.outer)
        )
        for group in groups
    }


@pytest.mark.parametrize("name", [name for name in ODD if name not in BRANCHING and ODD[name].walked is None])
def test_a_walk_finds_the_groups_that_an_export_does(name: str) -> None:
    assert places(graph(name, "autograd").permutations) == places(graph(name, "export").permutations)
    assert places(graph(name, "autograd").scales) == places(graph(name, "export").scales)


GEOMETRY = ("stride", "padding", "dilation", "groups", "output_padding")


@pytest.mark.parametrize("by", ["export", "autograd"])
def test_strides_paddings_dilations_and_groups_are_recorded(by: By) -> None:
    found = [op for op in graph("grouped and transposed", by).operations if op.kind.endswith("convolution")]
    assert [op.target for op in found] == ["conv2d", "conv_transpose2d", "conv_transpose2d", "conv2d"]
    assert [[op.options[slot] for slot in GEOMETRY if slot in op.options] for op in found] == [
        [(1, 1), (0, 0), (1, 1), 2],
        [(2, 2), (1, 1), (1, 1), 2, (1, 1)],
        [(1, 1), (0, 0), (2, 2), 1, (0, 0)],
        [(3, 3), (0, 0), (1, 1), 1],
    ]
    pool = next(op for op in graph("one-dimensional", by).operations if op.kind == "pool")
    assert pool.options["kernel_size"][-1] == pool.options["stride"][-1] == 2
    norm = next(op for op in graph("every norm", by).operations if op.kind == "group_norm")
    assert norm.options["num_groups"] == 3


def test_both_ways_see_the_same_layers_of_a_network() -> None:
    learned = {
        by: [(op.kind, op.parameters, op.depth) for op in graph("bottleneck", by).operations if op.parameters]
        for by in ("export", "autograd")
    }
    assert learned["export"] == learned["autograd"]


def test_a_module_that_cannot_be_exported_is_walked() -> None:
    for name in BRANCHING:
        assert graph(name).traced_by == "autograd"
    found = graph("branching")
    assert [op.kind for op in found.operations] == ["linear", "activation", "linear", "activation", "linear"]
    assert (found.inputs[0].name, found.inputs[0].shape, found.outputs[0].shape) == ("x", (2, 4), (2, 2))
    assert found.tensors["often.weight"].unit_groups == found.tensors["last.weight"].input_groups


def test_what_changes_the_output_and_is_not_seen_is_said() -> None:
    found = graph("branching cnn")
    assert found.tensors["temperature"].operation == "not_seen"
    assert found.tensors["temperature"].kind == "unknown"


class HiddenConstants(nn.Module):
    """A branch, and behind it numbers of one unit each that autograd says nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)
        self.numbers = torch.linspace(-2, 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        assert x.sum() < 1000
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x) + self.numbers))))


def test_groups_of_a_walk_that_do_not_hold_are_left_out() -> None:
    module = HiddenConstants()
    found = walk(module, (torch.randn(2, 3),))
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    groups, singles = permutation_groups(Flow.through(found, shapes, RULES), found.names)
    assert ([g.units for g in groups], singles) == ([4, 5], ())
    assert [g.units for g in ParameterGraph.of(module, (3,)).permutations] == [5]


def test_groups_are_tried_with_other_weights_than_those_that_happen_to_be_equal() -> None:
    module = HiddenConstants()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    assert [g.units for g in ParameterGraph.of(module, (3,)).permutations] == [5]


def test_walking_leaves_the_module_and_the_random_state_as_they_were() -> None:
    module = EarlyExit().train()
    module.step.eval()
    module.leave.weight.requires_grad_(False)
    before = [(name, value, value.clone(), value._version) for name, value in module.state_dict(keep_vars=True).items()]
    flags, random = [child.training for child in module.modules()], torch.get_rng_state()
    ParameterGraph.of(module, (4,))
    after = module.state_dict(keep_vars=True)
    assert [name for name, *_ in before] == list(after)
    assert all(after[name] is value and torch.equal(value, copy) for name, value, copy, _ in before)
    assert [child.training for child in module.modules()] == flags
    assert not module.leave.weight.requires_grad
    assert module.enter.weight.requires_grad
    assert (module.calls, float(module.seen), int(module.norm.num_batches_tracked)) == (0, 0.0, 0)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_module_may_overwrite_its_input_and_be_given_as_double() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2 if x.sum() < 1000 else 1)
            return self.last(self.first(x).relu_())

    found = ParameterGraph.of(Overwriting().double(), (3,))
    assert [op.target for op in found.operations] == ["mul", "linear", "relu", "linear"]
    assert (len(found.permutations), len(found.scales)) == (1, 1)


class Loud(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "raises" and x.sum() < 1000:
            raise LookupError("nothing here")
        if self.how == "whole numbers" and x.sum() < 1000:
            return self.layer(x).argmax(1)
        return self.layer(x)


@pytest.mark.parametrize(
    ("how", "by", "reason"),
    [
        (
            "raises",
            None,
            r"Loud .* \[2, 3\]: export: .*data-dependent.*; a run on an example: LookupError: nothing here",
        ),
        ("whole numbers", None, r"export: .*; a run on an example: ValueError: no output depends"),
        ("raises", "export", r"export: [^;]*data-dependent[^;]*$"),
    ],
)
def test_both_reasons_are_named_when_neither_way_is_open(how: str, by: By | None, reason: str) -> None:
    module = Loud(how)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(NotExportable, match=r"(?s)" + reason) as error:
        ParameterGraph.of(module, (3,), by=by)
    assert error.value.remedy
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert module.training


def test_a_symmetry_asks_for_what_holds_for_any_input() -> None:
    with pytest.raises(BadInput, match="cannot be traced"):
        Symmetry.of(BranchingCNN(), (2, 8, 11))
