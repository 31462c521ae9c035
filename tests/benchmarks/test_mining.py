"""The architectures that are written worst are found, and the same ones again when a training goes on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks.mining import chosen, loss_of, mined, with_heads
from weightsmith.architectures.families import draw
from weightsmith.errors import BadInput
from weightsmith.generators.universal import make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import ArchitecturePool


def test_the_highest_losses_and_the_first_of_the_rest_are_chosen() -> None:
    losses = [0.1, math.nan, 0.5, 0.2, 0.4]
    assert chosen(losses, 2, 0) == [1, 2]
    assert chosen(losses, 2, 2) == [0, 1, 2, 3]
    assert chosen(losses, 4, 9) == [0, 1, 2, 3, 4]


def test_what_was_chosen_is_kept(tmp_path: Path) -> None:
    pool = ArchitecturePool("training", 3, {"mlp": 1}, (1, 8, 8), 10)
    generator = make_universal(0, HypernetworkSizes(noise=8, dim=16, rank=8, depth=1, heads=2))
    images, labels = torch.randn(7, 1, 8, 8), torch.arange(7)
    found = mined(pool, 1, 0, generator, images, labels, tmp_path / "phase" / "mined.json")
    losses = [loss_of(pool, generator, images, labels, number) for number in range(3)]
    assert found.architectures == (pool.architecture(losses.index(max(losses))),)
    again = mined(pool, 1, 0, None, images[:0], labels[:0], tmp_path / "phase" / "mined.json")
    assert again.architectures == found.architectures


def test_so_many_of_each_kind_of_head_are_the_first_of_the_training_split() -> None:
    families = {"cnn": 1, "medley": 1, "mlp": 1}
    found = with_heads({"cnn average": 3, "quarters": 2, "other": 4}, families).architectures
    kinds = [(one.name, one.options.get("head_kind")) for one in found]
    assert kinds.count(("cnn", "average")) == 3
    assert kinds.count(("medley", "quarters")) == 2
    assert len(found) == 9
    assert found == tuple(one for one in (draw("training", i, families=families) for i in range(200)) if one in found)
    with pytest.raises(BadInput, match="vit average"):
        with_heads({"vit average": 1}, families, most=20)
