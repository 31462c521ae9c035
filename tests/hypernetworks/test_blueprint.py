"""What a hypernetwork is told of grouped, depthwise, attending and concatenating layers; draws of architectures."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from symmetric_networks import NETWORKS, network
from torch import Tensor, nn

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import SPLITS, TRAINED, draw, splits_of
from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.hypernetworks import Blueprint
from weightsmith.hypernetworks.plans import Grid, TensorPlan


def blueprint(name: str) -> Blueprint:
    return Blueprint.of(ParameterGraph.of(network(name), NETWORKS[name][1]))


def plan(found: Blueprint, name: str) -> TensorPlan:
    return next(plan for plan in found.tensors if name in plan.names)


def test_the_groups_of_a_convolution_are_blocks_of_rows_with_inputs_of_their_own() -> None:
    found = blueprint("grouped")
    rows, inputs, taps = plan(found, "2.weight").axes
    assert (plan(found, "2.weight").blocks, plan(found, "2.weight").fan_in) == (3, 18)
    before, after = inputs.units[0], rows.units[0]
    assert (before.shape, after.shape) == ((3, 2), (3, 3))
    assert len(before.unique()) == 6
    assert len(after.unique()) == 9
    assert len(found.space_of[before].unique()) == 1  # one layer of units, in three groups that keep apart
    assert [len(found.group_of[block].unique()) for block in before] == [1, 1, 1]
    assert len(found.group_of[before].unique()) == 3
    assert taps.grid == Grid("taps", 3, 3)
    assert taps.units == ()


def test_a_depthwise_convolution_has_the_units_of_its_input() -> None:
    found = blueprint("depthwise")
    first, last = plan(found, "5.weight").axes[0].units, plan(found, "7.weight").axes[0].units
    assert torch.equal(first[0], last[0])
    assert plan(found, "7.weight").axes[1].units == ()
    multiplied = plan(found, "2.weight").axes[0].units  # two outputs a channel: the channel's unit, and which of two
    assert [len(units.unique()) for units in multiplied] == [4, 2]
    assert torch.equal(multiplied[0], plan(found, "0.weight").axes[0].units[0].repeat_interleave(2)[None])


def test_attention_has_heads_and_places_inside_them_and_tells_queries_keys_and_values_apart() -> None:
    found = blueprint("attending")
    rows, inputs = plan(found, "layer.self_attn.in_proj_weight").axes
    assert rows.grid == Grid("slots", 1, 3)
    assert rows.fixed is not None
    assert rows.fixed[0].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    heads, inside = rows.units
    assert (len(heads.unique()), len(inside.unique())) == (2, 3)
    read_heads, read_inside = plan(found, "layer.self_attn.out_proj.weight").axes[1].units
    assert torch.equal(heads[0, 12:], read_heads[0])
    assert torch.equal(inside[0, 12:], read_inside[0])
    assert torch.equal(inputs.units[0], plan(found, "layer.linear2.weight").axes[0].units[0])  # the stream
    assert plan(found, "layer.norm1.weight").base == 1
    assert plan(found, "layer.norm1.bias").base == 0


def test_what_is_concatenated_twice_is_told_apart_by_its_slot() -> None:
    found = blueprint("two branches")
    left, right = (plan(found, f"{side}.weight").axes[0].units[0][0] for side in ("left", "right"))
    both = plan(found, "both.weight").axes[1]
    assert torch.equal(both.units[0][0], torch.cat([left, right, left]))
    assert both.fixed is not None
    assert both.fixed[0].tolist() == [0] * 11 + [1] * 4
    assert both.grid == Grid("slots", 1, 2)
    assert plan(found, "left.weight").axes[1].grid == Grid("sequence", 1, 6)  # inputs: each its own


def test_one_tensor_of_two_names_is_one_and_flattened_grids_are_known() -> None:
    assert plan(blueprint("tied"), "twice.weight").names == ("twice.weight", "alike.weight")
    assert plan(blueprint("heads"), "3.weight").axes[1].grid == Grid("positions", 4, 3)
    assert plan(blueprint("heads"), "7.weight").axes[0].grid == Grid("outputs", 1, 3)


def test_which_tensors_write_and_read_each_layer_of_units() -> None:
    found = blueprint("mlp")
    names = [plan.names[0] for plan in found.tensors]
    assert names == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"]
    assert found.writes.tolist() == [[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0, 0]]
    assert found.reads.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert found.space_of.tolist() == [0] * 8 + [1] * 6


class Unread(nn.Module):
    """Has a tensor that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.spare = nn.Linear(5, 3), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_what_is_left_alone_is_named_with_the_reason() -> None:
    found = Blueprint.of(ParameterGraph.of(Unread(), (5,)))
    assert found.untouched == {"spare": "no operation reads it"}
    assert (found.units, found.spaces) == (0, 0)


def test_the_fixed_splits_are_those_of_the_trained_families() -> None:
    for split in SPLITS:
        assert [draw(split, i) for i in range(20)] == [draw(split, i, (1, 28, 28), 10, TRAINED) for i in range(20)]


def test_families_are_chosen_whatever_their_order_and_the_rest_is_held_out() -> None:
    chosen = {"mixer": 1, "mlp": 2, "cnn": 0}
    drawn = [draw("training", i, (3, 8, 6), 4, chosen) for i in range(30)]
    assert {one.name for one in drawn} == {"mlp", "mixer"}
    assert drawn == [draw("training", i, (3, 8, 6), 4, {"mlp": 2, "mixer": 1}) for i in range(30)]
    assert {(one.input_shape, one.classes) for one in drawn} == {((3, 8, 6), 4)}
    assert max(one.options["patch"] for one in drawn if one.name == "mixer") == 6  # 7 does not fit into 8 x 6
    held_out = {draw("held_out_family", i, (3, 8, 6), 4, chosen).name for i in range(30)}
    assert held_out == {"cnn", "residual", "vit", "separable"}
    assert {draw("unseen_combination", i, families=chosen).name for i in range(10)} == {"mlp"}


def test_families_are_measured_alike_and_the_auxiliary_ones_beside_others_are_not() -> None:
    for split in ("unseen_size", "beyond"):
        counts = Counter(draw(split, i).name for i in range(400))
        assert set(counts) == {"mlp", "cnn", "residual", "vit"}
        assert min(counts.values()) > 70  # of 100: four standard deviations are 35
    assert {draw("training", i).name for i in range(200)} == set(TRAINED)
    assert {draw("unseen_size", i, families={"axial": 1, "hybrid": 3}).name for i in range(30)} == {"axial", "hybrid"}


def test_hybrids_hold_no_depthwise_separable_pair() -> None:
    hybrids = [draw(split, i, families={"hybrid": 1}) for split in ("training", "unseen_size") for i in range(150)]
    pairs = set()
    for one in hybrids:
        kinds: list[str] = list(one.options["blocks"])
        if one.options["pool"] == "depthwise":
            kinds.insert(one.options["halved_before"], "depthwise")
        pairs |= set(itertools.pairwise(kinds))
    assert ("depthwise", "convolution") in pairs
    assert ("pointwise", "depthwise") in pairs
    assert pairs.isdisjoint({("depthwise", "pointwise"), ("depthwise", "perceptron")})


def test_hybrids_and_networks_over_tokens_hold_nothing_that_training_keeps_apart() -> None:
    def drawn(family: str) -> list[Any]:
        return [
            draw(split, i, families={family: 1}).options for split in ("training", "unseen_size") for i in range(400)
        ]

    seen = set()
    for one in drawn("hybrid"):
        adds = one["residual"] or any(kind in ("perceptron", "rows", "columns", "attention") for kind in one["blocks"])
        seen |= {(adds, one["activation"]), (one["norm"], one["activation"]), (one["norm"], one["pool"])}
        seen |= {(kind, one["activation"]) for kind in one["blocks"]} | {(adds, one["norm"], one["head_kind"])}
    assert {(False, "tanh"), ("batch", "tanh"), ("group", "average"), ("grouped", "gelu")} < seen
    assert {(True, "group", "quarters"), (True, "layer", "flatten")} < seen
    apart = {(True, "tanh"), ("group", "tanh"), ("batch", "average"), ("grouped", "silu"), (True, "group", "flatten")}
    assert seen.isdisjoint(apart)
    tokens = {(one["patch"], one["activation"]) for one in drawn("tokens")}
    assert {(7, "gelu"), (4, "silu")} < tokens
    assert (7, "silu") not in tokens


def test_narrow_medleys_are_drawn_and_padded_where_they_would_leave_nothing() -> None:
    large, small = ([draw("training", i, (1, side, side), 10, {"medley": 1}) for i in range(200)] for side in (28, 6))
    bare = [one.options for one in large if not one.options.get("padded", True)]
    assert min(width for one in bare for width in one["widths"]) == 4
    assert any("large" in one["kinds"] for one in bare)
    assert sum(one.options.get("padded", True) for one in small) > sum(one.options.get("padded", True) for one in large)
    for one in (*large[:40], *small[:40]):
        assert one.build(0)(torch.zeros(2, *one.input_shape)).shape == (2, 10)


def test_medleys_hold_nothing_that_training_keeps_apart() -> None:
    drawn = [
        draw(split, i, families={"medley": 1}).options for split in ("training", "unseen_size") for i in range(400)
    ]
    dense, layers, networks = set(), set(), set()
    for one in drawn:
        dense |= set(zip(one["dense_norms"], one["dense_activations"], strict=True))
        layers |= set(
            zip(one["kinds"], one["norms"], one["activations"], [one["adds"]] * len(one["kinds"]), strict=True)
        )
        networks |= {*itertools.product(one["norms"], one["halvings"])}
        networks |= {(kind, f"{one['head_kind']} head") for kind in one["kinds"]}
        pairs = set(itertools.pairwise(one["kinds"]))
        assert ("depthwise", "pointwise") not in pairs
        assert not (one["adds"] and "group" in one["norms"] and one["head_kind"] == "flatten")
    assert {("layer", "tanh"), ("batch", "gelu")} < dense
    assert dense.isdisjoint({("layer", "gelu"), ("batch", "tanh")})
    assert all(activation != "tanh" for _, norm, activation, adds in layers if adds or norm == "group")
    assert all(activation != "silu" for kind, *_, activation, _ in layers if kind == "grouped")
    assert {("batch", "max"), ("layer", "average"), ("grouped", "average head")} < networks
    assert {("large", "flatten head"), ("large", "quarters head")} < networks
    assert networks.isdisjoint({("batch", "average"), ("large", "average head")})


def test_splits_that_families_leave_empty_are_said_to_be_and_refused() -> None:
    everything = dict.fromkeys((*TRAINED, "separable", "mixer"), 1)
    assert splits_of(everything) == ("training", "unseen_size", "beyond", "unseen_combination")
    assert splits_of({name: 1 for name in everything if name != "medley"}) == splits_of(everything)
    assert splits_of({"axial": 1}) == ("training", "unseen_size", "beyond", "held_out_family")
    with pytest.raises(BadInput, match="held_out_family"):
        draw("held_out_family", 0, families=everything)
    with pytest.raises(BadInput, match="resnet"):
        draw("training", 0, families={"resnet": 1})
    with pytest.raises(BadInput, match="families"):
        draw("training", 0, families={"mlp": 0})
    with pytest.raises(BadInput, match="3 x 9 are too small"):
        draw("training", 0, (1, 3, 9))


def test_units_that_may_not_change_places_have_codes_and_readers_all_the_same() -> None:
    """Groups of 2 channels of a convolution, 9 of a norm: two of the pairs lie across two of the norm's groups."""
    options = {"channels": [8, 36], "blocks": [1, 1], "norm": "group", "group_width": 2, "head_kind": "flatten"}
    graph = ParameterGraph.of(Architecture("residual", (1, 12, 12), 5, options).build(0), (1, 12, 12))
    assert len(graph.singles) == 8
    assert {group.units for group in graph.singles} == {1}
    blueprint = Blueprint.of(graph)
    assert torch.bincount(blueprint.space_of).tolist() == [8, 8, 36, 36]
    plans = {plan.names[0]: plan for plan in blueprint.tensors}
    for name, axis, units in (("4.body.3.weight", 0, 36), ("4.body.3.weight", 1, 36), ("6.weight", 1, 36)):
        (index,) = plans[name].axes[axis].units
        assert len(set(index.flatten().tolist())) == units
        assert int(index.min()) >= 0
    assert plans["4.body.3.weight"].blocks == 18
    assert plans["6.weight"].axes[1].grid == Grid("positions", 3, 3)
