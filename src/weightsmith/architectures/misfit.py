"""Misfit: what keeps a network from classifying images, found out before hours are spent."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn


def misfit(module: nn.Module, images: Float[Tensor, "image channel height width"], classes: int) -> str | None:
    """Why the module does not give `[image, classes]` for these images, in a few words; `None` where it does."""
    try:
        with torch.no_grad():
            outputs = copy.deepcopy(module).eval()(images)
        expected = (len(images), classes)
        return None if tuple(outputs.shape) == expected else f"it gives {list(outputs.shape)}, not {list(expected)}"
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
