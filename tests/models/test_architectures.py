from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.architectures.families import SPLITS, Split, draw
from weightsmith.errors import BadInput
from weightsmith.settings.architectures import ARCHITECTURES, count_parameters
from weightsmith.settings.options import validate_options

CNN = Architecture("target_cnn", (1, 28, 28), 10)


def test_the_target_cnn_has_exactly_the_notes_parameters() -> None:
    assert CNN.layout.parameters == 421_642
    names = [spec.name for spec in CNN.layout.tensors]
    assert names == [f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 12)])
def test_closed_forms_count_what_is_built(name: str, shape: tuple[int, int, int]) -> None:
    module = Architecture(name, shape, 7).build(0)
    assert sum(p.numel() for p in module.parameters()) == count_parameters(name, {}, shape, 7)
    outputs = module(torch.randn(5, *shape))
    assert outputs.shape == (5, 7)


@pytest.mark.parametrize("split", SPLITS)
def test_closed_forms_count_what_is_drawn(split: Split) -> None:
    for number in range(20):
        drawn = draw(split, number, (1, 28, 28), 10)
        options = validate_options("architecture", drawn.name, dict(drawn.options))
        with torch.device("meta"):
            module = Architecture(drawn.name, drawn.input_shape, drawn.classes, options).build(0)
        assert sum(p.numel() for p in module.parameters()) == count_parameters(drawn.name, options, (1, 28, 28), 10)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"channels": [6, 10, 14], "kernel": 5, "groups": 2, "norm": "layer", "pool": "stride", "hidden": 0}),
        ("cnn", {"channels": [5], "groups": 3, "head_kind": "average", "hidden": 9}),
        ("residual", {"channels": [8, 24, 16], "blocks": [1, 2, 3], "head_kind": "flatten", "group_width": 4}),
        ("residual", {"channels": [20, 24], "bottleneck": True, "norm": "group", "group_width": 2}),
        ("separable", {"channels": [6, 9, 9], "residual": True, "norm": "none", "head_kind": "flatten"}),
        ("vit", {"patch": 5, "dim": 12, "depth": 3, "heads": 3, "ratio": 3, "pool": "token"}),
        ("vit", {"patch": 5, "dim": 12, "depth": 2, "heads": 2, "latents": 7, "pool": "token"}),
        ("vit", {"patch": 5, "dim": 12, "depth": 2, "heads": 1, "projections": "chunked", "norm_first": False}),
        ("vit", {"patch": 5, "dim": 12, "depth": 1, "heads": 3, "latents": 4, "projections": "separate"}),
        ("vit", {"patch": 3, "dim": 6, "depth": 1, "heads": 3, "latents": 5, "pool": "linear", "positions": False}),
        ("mixer", {"patch": 5, "dim": 6, "depth": 1, "token_hidden": 7, "ratio": 5}),
        ("tokens", {"patch": 5, "dim": 9, "blocks": ["attention", "perceptron", "latents"], "hidden": 7, "heads": 3}),
        ("tokens", {"patch": 3, "dim": 5, "blocks": ["perceptron"], "pool": "linear", "positions": True}),
        ("axial", {"widths": [7, 5, 9], "hidden": 11}),
        ("axial", {"widths": [7, 5, 9], "residual": True}),
        (
            "hybrid",
            {"width": 12, "blocks": ["rows", "depthwise", "columns"], "hidden": 7, "halved_before": 2},
        ),
        ("hybrid", {"width": 8, "blocks": ["grouped", "pointwise", "perceptron", "convolution"], "norm": "none"}),
        ("hybrid", {"blocks": ["columns", "rows", "columns"], "pool": "depthwise", "halved_before": 0}),
        ("hybrid", {"blocks": ["depthwise", "rows"], "head_kind": "quarters"}),
        ("separable", {"channels": [6, 9], "head_kind": "quarters"}),
        (
            "medley",
            {
                "kinds": ["large", "depthwise", "grouped", "pointwise"],
                "widths": [8, 8, 12, 7],
                "norms": ["group", "none", "layer", "batch"],
                "activations": ["relu", "silu", "tanh", "gelu"],
                "halvings": ["average", "none", "stride", "none"],
                "head_kind": "flatten",
                "dense": [9, 5],
                "dense_norms": ["layer", "none"],
                "dense_activations": ["tanh", "gelu"],
            },
        ),
        (
            "medley",
            {
                "kinds": ["large", "convolution", "pointwise"],
                "widths": [6, 9, 5],
                "norms": ["none", "layer", "batch"],
                "activations": ["relu", "silu", "tanh"],
                "halvings": ["max", "stride", "none"],
                "head_kind": "flatten",
                "padded": False,
            },
        ),
        ("medley", {"head_kind": "quarters", "dense": [6], "dense_norms": ["none"], "dense_activations": ["silu"]}),
        ("medley", {"kinds": [], "widths": [], "norms": [], "activations": [], "halvings": [], "head_kind": "flatten"}),
        ("mlp", {"hidden": [7, 5], "norm": "batch"}),
    ],
)
def test_closed_forms_of_odd_sizes(name: str, options: dict[str, Any]) -> None:
    shape = (3, 21, 15)
    module = Architecture(name, shape, 6, options).build(0)
    assert sum(p.numel() for p in module.parameters()) == count_parameters(name, options, shape, 6)
    assert module(torch.randn(2, *shape)).shape == (2, 6)


def test_same_seed_same_bits_and_no_trace_in_the_global_generator() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second, other = CNN.build(1), CNN.build(1), CNN.build(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_any_importable_callable_is_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets.py").write_text("from torch import nn\ndef net(width): return nn.Linear(width, 3)\n")
    monkeypatch.chdir(tmp_path)
    own = Architecture("own_nets:net", (1, 2, 2), 3, {"width": 4})
    assert isinstance(own.build(0), nn.Linear)
    again = Architecture.from_json(own.to_json())
    assert again == own
    with pytest.raises(BadInput, match="may not choose which code"):
        again.build(0)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("target_cn", {}, "unknown architecture 'target_cn'"),
        ("no.such.module:net", {}, "cannot import"),
        ("torch.nn:NoSuchLayer", {}, "has no 'NoSuchLayer'"),
        ("torch.nn:Linear", {"wide": 3}, "refuses options"),
        ("builtins:dict", {}, "not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_explained(name: str, options: dict[str, int], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        Architecture(name, (1, 28, 28), 10, options).build(0)


def test_a_registered_name_in_a_file_still_builds() -> None:
    assert Architecture.from_json(CNN.to_json()).layout == CNN.layout


def test_attention_is_one_function_in_three_spellings() -> None:
    options = {"patch": 3, "dim": 12, "depth": 1, "heads": 3}
    packed, chunked, separate = (
        Architecture("vit", (1, 6, 9), 5, {**options, "projections": spelling}).build(0)
        for spelling in ("packed", "chunked", "separate")
    )
    state, name = packed.state_dict(), "blocks.0.mix."
    chunked.load_state_dict(state)
    rows = {
        f"{name}{one}.{kind}": state[f"{name}qkv.{kind}"].chunk(3)[i]
        for i, one in enumerate(("query", "key", "value"))
        for kind in ("weight", "bias")
    }
    separate.load_state_dict({**{key: value for key, value in state.items() if "qkv" not in key}, **rows})
    images = torch.randn(4, 1, 6, 9)
    torch.testing.assert_close(chunked(images), packed(images))
    torch.testing.assert_close(separate(images), packed(images))
