from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from weightsmith.errors import LayoutMismatch
from weightsmith.layout import Layout, TensorSpec, Weights


class Mixed(nn.Module):
    """Unequal sizes, a norm with counters, a half-precision tensor, a scalar, an empty and a boolean buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (1, 5))
        self.norm = nn.BatchNorm2d(3)
        self.out = nn.Linear(7, 4, bias=False).to(torch.bfloat16)
        self.gain = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("empty", torch.empty(0, 6))
        self.register_buffer("flags", torch.tensor([True, False]))


def perturbed(seed: int) -> Mixed:
    module = Mixed()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    module.norm.num_batches_tracked += seed
    return module


def test_roles_and_order_follow_the_module() -> None:
    layout = Layout.of(Mixed())
    assert [spec.name for spec in layout.tensors] == list(Mixed().state_dict())
    roles = {spec.name: spec.role for spec in layout.tensors}
    assert roles["conv.weight"] == "weight"
    assert roles["conv.bias"] == "bias"
    assert roles["norm.weight"] == roles["norm.bias"] == "norm"
    assert roles["norm.running_mean"] == roles["norm.num_batches_tracked"] == "buffer"
    assert roles["gain"] == "weight"


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_unflatten_of_flatten_is_bitwise_the_identity(seeds: list[int]) -> None:
    states = [perturbed(seed).state_dict() for seed in seeds]
    weights = Layout.of(Mixed()).flatten(states)
    assert weights.vectors.shape == (len(seeds), weights.layout.parameters)
    for before, after in zip(states, weights.states(), strict=True):
        assert list(before) == list(after)
        for name in before:
            assert before[name].dtype == after[name].dtype
            assert torch.equal(before[name], after[name])


def test_special_values_survive() -> None:
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[float("nan"), float("inf"), -0.0], [1e-45, -float("inf"), 3.0]]))
    state = Weights.of(module).states()[0]
    assert torch.equal(state["weight"].view(torch.int32), module.weight.detach().view(torch.int32))


def test_float64_is_not_rounded() -> None:
    module = nn.Linear(3, 2).double()
    assert torch.equal(Weights.of(module).states()[0]["weight"], module.weight.detach())


def test_stacked_is_differentiable_in_the_vectors() -> None:
    layout = Layout.of(nn.Linear(3, 2))
    vectors = torch.randn(4, layout.parameters, requires_grad=True)
    Weights.generated(layout, vectors).stacked()["weight"].sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.sum() == 4 * 6


def test_selection_and_joining() -> None:
    weights = Layout.of(Mixed()).flatten([perturbed(i).state_dict() for i in range(3)])
    joined = Weights.concatenate([weights[2], weights[:2]])
    assert torch.equal(joined.vectors, weights.vectors[[2, 0, 1]])
    assert joined.integers["norm.num_batches_tracked"].tolist() == [2, 0, 1]
    assert len(list(weights)) == len(weights) == 3


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda s: s.pop("conv.bias"), "'conv.bias' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is not in the layout"),
        (lambda s: s.update({"conv.bias": torch.zeros(4)}), r"'conv.bias' is float32\[4\], not float32\[3\]"),
        (lambda s: s.update({"conv.bias": torch.zeros(3).double()}), "'conv.bias' is float64"),
    ],
)
def test_a_mismatch_names_the_tensor(change: object, names: str) -> None:
    state = dict(Mixed().state_dict())
    change(state)  # type: ignore[operator]
    with pytest.raises(LayoutMismatch, match=names):
        Layout.of(Mixed()).flatten([state])


def test_different_layouts_name_the_first_difference() -> None:
    first, second = Layout.of(nn.Linear(3, 2)), Layout.of(nn.Linear(3, 5))
    with pytest.raises(LayoutMismatch, match=r"'weight' float32\[5, 3\] stands where 'weight' float32\[2, 3\]"):
        first.require_same(second, "a test")
    with pytest.raises(LayoutMismatch, match="'bias' is in one layout only"):
        first.require_same(Layout.of(nn.Linear(3, 2, bias=False)), "a test")


def test_vectors_of_another_length_are_refused() -> None:
    layout = Layout.of(nn.Linear(3, 2))
    with pytest.raises(LayoutMismatch, match=r"\[batch, 8\]"):
        Weights.generated(layout, torch.zeros(2, 7))


def test_json_round_trip_and_fingerprint() -> None:
    layout = Layout.of(Mixed())
    again = Layout.from_json(layout.to_json())
    assert again == layout
    assert again.fingerprint == layout.fingerprint
    assert Layout.of(nn.Linear(3, 2)).fingerprint != Layout.of(nn.Linear(2, 3)).fingerprint


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "shape": [2], "dtype": "float32"},
        {"name": "a", "shape": [-2], "dtype": "float32", "role": "weight"},
        {"name": "a", "shape": [2**40, 2**40], "dtype": "float32", "role": "weight"},
        {"name": "a", "shape": [2], "dtype": "nn", "role": "weight"},
        {"name": "a", "shape": [2], "dtype": "float32", "role": "other"},
        "a",
    ],
)
def test_a_layout_that_is_none_is_refused(entry: object) -> None:
    with pytest.raises(LayoutMismatch):
        Layout.from_json([entry])  # type: ignore[list-item]


def test_a_layout_without_floats_has_empty_vectors() -> None:
    layout = Layout((TensorSpec("n", (), "int64", "buffer"),))
    weights = layout.flatten([{"n": torch.tensor(3)}])
    assert weights.vectors.shape == (1, 0)
    assert weights.states()[0]["n"] == 3
