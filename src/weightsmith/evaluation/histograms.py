"""Histograms of weights, layer by layer, over common bins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from weightsmith.layout import Weights

BINS = 60


def weight_histograms(networks: Mapping[str, Weights]) -> dict[str, dict[str, Any]]:
    """For every weight tensor: common bin `edges` and, for each named network (a batch of one), its `density`."""
    stacked = {name: weights.stacked() for name, weights in networks.items()}
    layout = next(iter(networks.values())).layout
    result = {}
    for spec in layout.tensors:
        if spec.role != "weight":
            continue
        values = {name: tensors[spec.name].flatten().float() for name, tensors in stacked.items()}
        # A few outliers must not squeeze the rest into one bin: the central 99.8 % of all values set the range.
        limits = torch.stack([value.abs().sort().values[int(0.998 * (len(value) - 1))] for value in values.values()])
        edge = float(limits.max()) or 1.0
        edges = torch.linspace(-edge, edge, BINS + 1)
        densities = {name: torch.histogram(value, edges, density=True).hist for name, value in values.items()}
        result[spec.name] = {
            "edges": edges.tolist(),
            "density": {name: density.tolist() for name, density in densities.items()},
        }
    return result
