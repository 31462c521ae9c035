"""A hypernetwork that begins at given weights: the start decides every unit's code, and part of it stays."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.encoding import UnitEncoder
from weightsmith.hypernetworks.network import Hypernetwork, HypernetworkSizes, joined


class StartedHypernetwork(nn.Module):
    """`W = r (sqrt(1 - s^2) H / rms + s start / rms)` with `H = H(codes(start))` and r its root mean square a tensor.

    `s` is `start_share`: as training leaves part of an initialisation where it was, so does this. Codes of units
    come from the start by a `UnitEncoder`, which sees what a unit does, not where it stands. Vectors and weights of
    norms are H's alone; a tensor that starts at zero adds nothing. Tied tensors are read by their first name.
    """

    def __init__(self, sizes: HypernetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.body = Hypernetwork(sizes)
        self.encoder = UnitEncoder(sizes.noise, group_share=sizes.group_share)

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and those that it writes."""
        return self.body.device

    def forward(self, blueprint: Blueprint, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the blueprint by name. Raises `BadInput` for a start that lacks one, or has another shape."""
        blueprint = blueprint.on(self.device)
        read = (plan.names[0] for plan in blueprint.tensors)
        given = {name: start[name].to(self.device) for name in read if name in start}
        written = self.body(blueprint, self.encoder(blueprint, given))
        for plan in blueprint.tensors:
            if plan.starts:
                value = joined(written[plan.names[0]], given[plan.names[0]].float(), self.sizes.start_share)
                written |= dict.fromkeys(plan.names, value)
        return written
