"""The optimizers of training networks, and their moments as plain tensors that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from weightsmith.ensemble.plan import Member, TrainingPlan
from weightsmith.errors import ArtifactError


def make_optimizer(plan: TrainingPlan, parts: Sequence[tuple[list[Tensor], Member]]) -> torch.optim.Optimizer:
    """One optimizer over tensors of several networks, each part with its member's hyperparameters."""
    groups = [{"params": tensors, "lr": m.learning_rate, "weight_decay": m.weight_decay} for tensors, m in parts]
    if plan.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True)
    momenta = [{**group, "momentum": m.momentum} for group, (_, m) in zip(groups, parts, strict=True)]
    return torch.optim.SGD(momenta, lr=1.0, fused=True)


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """A copy of what the optimizer remembers, by parameter and name."""
    return {
        f"{index}.{name}": value.detach().clone()
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """The inverse of `moments_of`. Raises `ArtifactError` for the moments of other parameters."""
    parameters = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    state: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(parameters))}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        if not index.isdigit() or int(index) >= len(parameters):
            raise ArtifactError(f"moment {key!r} belongs to no parameter", "delete the saved state")
        shape = parameters[int(index)].shape
        if value.ndim and value.shape != shape:
            raise ArtifactError(f"moment {key!r} has shape {list(value.shape)}, not {list(shape)}", "delete the state")
        state[int(index)][name] = _laid_like(value, parameters[int(index)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy in the memory order of the parameter: the fused optimizers take it for granted that moments lie so."""
    if value.ndim == 0:
        return value.clone()
    laid = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return laid.copy_(value)
