"""The basis of fixed places: orthogonal columns, rows of norm one on average, the same waves on grids of any size."""

from __future__ import annotations

import math

import pytest
import torch

from weightsmith.hypernetworks.basis import COLUMNS, SIDE, amplitudes, cosine_basis
from weightsmith.hypernetworks.plans import GRID_KINDS, Grid

GRIDS = [Grid("taps", 3, 5), Grid("positions", 14, 7), Grid("outputs", 1, 10), Grid("sequence", 1, 200)]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.height}x{grid.width}")
def test_columns_are_orthogonal_and_rows_have_norm_one_on_average(grid: Grid) -> None:
    basis = cosine_basis(grid).double()
    assert basis.shape == (grid.height * grid.width, COLUMNS)
    products = basis.T @ basis
    assert float((products - products.diag().diag()).abs().max()) < 1e-5
    told_apart = min(grid.height, SIDE) * min(grid.width, SIDE) if grid.height > 1 else min(grid.width, SIDE**2)
    assert int((products.diag() > 1e-6).sum()) == told_apart
    assert float(basis.square().sum(1).mean()) == pytest.approx(1, abs=1e-5)


def test_two_places_are_told_apart_as_by_hand() -> None:
    expected = torch.zeros(2, COLUMNS)
    expected[:, :2] = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
    torch.testing.assert_close(cosine_basis(Grid("slots", 1, 2)), expected)


def test_a_lattice_runs_over_rows_first() -> None:
    grid, y, x, f, g = Grid("positions", 3, 4), 2, 1, 1, 2
    wave = math.cos(math.pi * f * (y + 0.5) / 3) * math.cos(math.pi * g * (x + 0.5) / 4)
    assert float(cosine_basis(grid)[y * 4 + x, f * SIDE + g]) == pytest.approx(2 * wave / math.sqrt(12))


def test_places_outside_the_lattice_stand_first_and_alone() -> None:
    basis = cosine_basis(Grid("positions", 3, 4, extra=1))
    assert basis.shape == (13, COLUMNS)
    torch.testing.assert_close(basis[1:], cosine_basis(Grid("positions", 3, 4)))
    assert torch.nonzero(basis[0]).tolist() == [[COLUMNS - 1]]
    assert not basis[1:, -1].any()


@pytest.mark.parametrize("kind", GRID_KINDS)
def test_slow_waves_enter_no_weaker_than_fast_ones(kind: str) -> None:
    found = amplitudes(kind)
    assert found.shape == (COLUMNS,)
    assert float(found.max()) == float(found[0]) == 1.0
    assert (found > 0).all()
