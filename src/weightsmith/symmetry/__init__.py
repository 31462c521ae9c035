"""Symmetries of networks: what may be done to weights without changing the function that they compute."""

from weightsmith.symmetry.inputs import fold_inactive_inputs
from weightsmith.symmetry.symmetry import Symmetry

__all__ = ["Symmetry", "fold_inactive_inputs"]
