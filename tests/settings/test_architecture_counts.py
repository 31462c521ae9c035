"""Closed-form parameter counts, and the registries' helpers."""

from __future__ import annotations

import pytest

from weightsmith.errors import BadInput
from weightsmith.settings.architectures import ARCHITECTURES, count_parameters
from weightsmith.settings.options import OPTIONS
from weightsmith.settings.registry import CODECS, DATASETS, GENERATORS, WEIGHT_GENERATORS, load_entry, nearest


def test_counts_of_the_note_s_networks() -> None:
    assert count_parameters("target_cnn", {}, (1, 28, 28), 10) == 421_642
    assert count_parameters("mlp", {}, (1, 28, 28), 10) == 785 * 32 + 33 * 32 + 33 * 10
    assert count_parameters("my.nets:build", {"width": 3}, (1, 28, 28), 10) is None


def test_counts_agree_with_live_modules() -> None:
    nn = pytest.importorskip("torch").nn
    cnn = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 7, 3, padding=1), nn.Linear(7 * 4 * 3, 11), nn.Linear(11, 6)
    )
    expected = sum(p.numel() for p in cnn.parameters())
    assert count_parameters("target_cnn", {"channels1": 5, "channels2": 7, "hidden": 11}, (3, 17, 14), 6) == expected
    mlp = nn.Sequential(nn.Linear(3 * 17 * 14, 9), nn.Linear(9, 6))
    assert count_parameters("mlp", {"hidden": [9]}, (3, 17, 14), 6) == sum(p.numel() for p in mlp.parameters())


def test_every_registered_name_has_options() -> None:
    assert set(OPTIONS["architecture"]) == set(ARCHITECTURES)
    assert set(OPTIONS["codec"]) == set(CODECS)
    assert set(OPTIONS["generator"]) == {*GENERATORS, *WEIGHT_GENERATORS}


def test_nearest() -> None:
    assert nearest("minst", DATASETS) == "mnist"
    assert nearest("MNIST", DATASETS) == "mnist"
    assert nearest("zzz", DATASETS) is None


def test_load_entry_names_what_is_missing() -> None:
    assert load_entry("json:dumps")({}) == "{}"
    for entry, told in [("json", "module:attribute"), ("no_such_pkg:x", "no_such_pkg"), ("json:dmps", "'dump")]:
        with pytest.raises(BadInput, match=told):
            load_entry(entry)
