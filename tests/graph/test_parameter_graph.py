from __future__ import annotations

import pytest
import torch
from symmetric_networks import MLP, NETWORKS, SMALL_CNN, Residual, Tied, network
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.graph import NotExportable, ParameterGraph

GRAPHS = {name: ParameterGraph.of(network(name), shape) for name, (_, shape, _, _) in NETWORKS.items()}


def test_the_operations_of_a_convolutional_chain_in_order() -> None:
    graph = GRAPHS["cnn"]
    expected = ["convolution", "activation", "pool"] * 2 + ["reshape", "linear", "activation", "linear"]
    assert [operation.kind for operation in graph.operations] == expected
    first = graph.operations[0]
    assert first.parameters == {"weight": "conv1.weight", "bias": "conv1.bias"}
    assert first.options == {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    assert graph.operations[1].target == "relu"
    flatten = graph.operations[6]
    assert (flatten.inputs[0].shape, flatten.shapes) == ((2, 7, 3, 2), ((2, 42),))
    assert [operation.depth for operation in graph.operations] == [1, 1, 1, 2, 2, 2, 2, 3, 3, 4]
    assert (graph.inputs[0].shape, graph.outputs[0].shape) == ((2, 2, 12, 8), (2, 5))


def test_edges_join_a_residual_stream() -> None:
    graph = GRAPHS["residual"]
    joins = [operation for operation in graph.operations if operation.kind == "add"]
    assert len(joins) == 2
    for join in joins:
        assert [graph.operation(value.name).kind for value in join.inputs] == ["activation", "batch_norm"]
        assert {(value.name, join.name) for value in join.inputs} <= set(graph.edges)
    norm = next(operation for operation in graph.operations if operation.kind == "batch_norm")
    assert set(norm.parameters) == {"weight", "bias", "running_mean", "running_var"}
    assert norm.options["eps"] == 1e-5


def test_every_floating_tensor_has_a_node_that_says_what_it_is_for() -> None:
    nodes = GRAPHS["cnn"].tensors
    assert list(nodes) == [spec.name for spec in SMALL_CNN.layout.floating]
    weight, bias = nodes["fc1.weight"], nodes["fc1.bias"]
    assert (weight.kind, weight.slot, weight.role, weight.depth) == ("linear", "weight", "weight", 3)
    assert (weight.unit_axis, weight.input_axis) == (0, 1)
    assert (weight.unit_groups, weight.input_groups) == (("fc1.weight:0",), ("conv2.weight:0",))
    assert (bias.unit_axis, bias.input_axis, bias.unit_groups) == (0, None, ("fc1.weight:0",))
    assert nodes["conv1.weight"].input_groups == nodes["fc2.bias"].unit_groups == ()
    assert nodes["conv1.weight"].order < nodes["conv2.weight"].order < nodes["fc2.weight"].order


@pytest.mark.parametrize(
    ("name", "tensor", "axes"),
    [
        ("residual", "1.running_var", (0, None)),
        ("residual", "3.conv1.weight", (0, 1)),
        ("grouped", "4.weight", (1, 0)),
        ("layer norm", "1.weight", (0, None)),
        ("gated", "slope.weight", (0, None)),
    ],
)
def test_unit_and_input_axes_by_kind(name: str, tensor: str, axes: tuple[int | None, int | None]) -> None:
    node = GRAPHS[name].tensors[tensor]
    assert (node.unit_axis, node.input_axis) == axes


def test_both_sides_of_a_residual_stream_are_one_group() -> None:
    nodes = GRAPHS["residual"].tensors
    assert nodes["0.weight"].unit_groups == nodes["3.conv2.weight"].unit_groups == nodes["4.conv2.weight"].unit_groups
    assert nodes["0.weight"].unit_groups == nodes["4.conv1.weight"].input_groups == nodes["7.weight"].input_groups
    assert nodes["3.conv1.weight"].unit_groups != nodes["0.weight"].unit_groups


def test_a_concatenation_is_several_groups_along_an_axis() -> None:
    nodes = GRAPHS["two branches"].tensors
    assert nodes["both.weight"].input_groups == ("left.weight:0", "right.weight:0")
    (group,) = (g for g in GRAPHS["two branches"].permutations if g.name == "left.weight:0")
    assert [p.start for p in group.places if (p.tensor, p.axis) == ("both.weight", 1)] == [0, 11]


def test_tied_weights_are_one_tensor_of_several_names() -> None:
    graph = ParameterGraph.of(Tied(), (6,))
    assert graph.ties == (("twice.weight", "alike.weight"),)
    assert graph.tensors["alike.weight"].names == ("twice.weight", "alike.weight")
    assert graph.tensors["alike.weight"].operation == graph.tensors["twice.weight"].operation


def test_what_is_not_read_and_what_is_not_understood_have_nodes_too() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unread, self.centres = nn.Linear(2, 2), nn.Parameter(torch.randn(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, self.centres)

    graph = ParameterGraph.of(Odd(), (5, 3))
    assert graph.not_understood == ("cdist",)
    assert (graph.permutations, graph.scales) == ((), ())
    assert graph.tensors["unread.weight"].operation is None
    node = graph.tensors["centres"]
    assert (node.kind, node.slot, node.unit_axis) == ("unknown", "x2", None)


def test_several_and_integer_inputs_are_given_as_examples() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.numbers, self.head = nn.Embedding(9, 6), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, words: Tensor, numbers: Tensor) -> Tensor:
            return self.head(self.words(words) + self.numbers(numbers))

    graph = ParameterGraph.traced(Pair(), torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4))
    assert [value.shape for value in graph.inputs] == [(3,), (3, 4)]
    (group,) = graph.permutations
    assert (group.name, group.units) == ("words.weight:1", 6)
    assert graph.scales[0].name == group.name


def test_overwriting_in_place_what_is_read_again_is_seen() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            hidden.view(-1).tanh_()
            return self.last(hidden)

    graph = ParameterGraph.of(Overwriting(), (3,))
    assert any(operation.target == "tanh" for operation in graph.operations)
    assert graph.scales == ()


def test_tracing_leaves_the_module_and_the_random_state_as_they_were() -> None:
    module = Residual()
    module.train()
    module[3].bn1.eval()
    flags = [child.training for child in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    ParameterGraph.of(module, (2, 5, 4))
    assert [child.training for child in module.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError(int(x.sum()))


def test_what_cannot_be_traced_is_refused_with_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotExportable, match=r"Wrong cannot be traced .*\[2, 3\]: export: .*; a run .*: KeyError: "):
        ParameterGraph.of(Wrong(), (3,))
    with pytest.raises(
        BadInput, match=r"Sequential cannot be traced .*: export: RuntimeError: .*; a run .*RuntimeError"
    ):
        ParameterGraph.of(MLP.build(0), (4, 4))
    with pytest.raises(BadInput, match="no operation 'nothing'"):
        GRAPHS["mlp"].operation("nothing")
    assert capfd.readouterr().err == ""
