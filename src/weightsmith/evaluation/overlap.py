"""Overlap of errors: how alike the sets of images are that two networks get wrong."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.errors import BadInput


def error_overlap(
    wrong: Bool[Tensor, "network image"], reference_wrong: Bool[Tensor, "reference same_image"]
) -> Float[Tensor, "network reference"]:
    """Intersection over union of wrongly predicted images, `|A & B| / |A | B|`, for every pair.

    Two networks without an error have the same errors: 1. Raises `BadInput` when the images differ in number.
    """
    if wrong.shape[1] != reference_wrong.shape[1]:
        raise BadInput(
            f"predictions on {wrong.shape[1]} images were compared with predictions on {reference_wrong.shape[1]}",
            "evaluate all networks on the same images",
        )
    ours, theirs = wrong.double(), reference_wrong.double()
    both = ours @ theirs.T
    either = ours.sum(dim=1)[:, None] + theirs.sum(dim=1) - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def largest_overlap(
    wrong: Bool[Tensor, "network image"], training_wrong: Bool[Tensor, "training image"]
) -> Float[Tensor, " network"]:
    """The overlap of each network with the training network whose errors are most like its own."""
    if not len(training_wrong):
        raise BadInput("there is no training network to compare errors with", "give at least one")
    return error_overlap(wrong, training_wrong).amax(dim=1)


def largest_overlap_with_others(wrong: Bool[Tensor, "network image"]) -> Float[Tensor, " network"]:
    """The same within one set, leaving out each network itself. Raises `BadInput` for fewer than two networks."""
    if len(wrong) < 2:
        raise BadInput(f"{len(wrong)} network has no other to compare errors with", "give at least two")
    return error_overlap(wrong, wrong).fill_diagonal_(-1.0).amax(dim=1)
