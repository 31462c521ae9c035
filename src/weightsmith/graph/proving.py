"""Proving: groups of a walked graph are kept where moving their units leaves the outputs of a run as they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from weightsmith.graph.borrowing import SEED, left_as_it_was, on_copies
from weightsmith.graph.groups import Group, Place
from weightsmith.graph.running import Run, run

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}  # of the largest output
NOISE = (0.3, 0.03, 0.0)  # by how much weights are changed at first, so that equal ones cannot pass for any order

State = dict[str, Tensor]


def proved(
    module: nn.Module, inputs: tuple[Tensor, ...], permutations: Sequence[Group], scales: Sequence[Group]
) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups that leave the outputs on these inputs as they are, on the path that these inputs take.

    A group is permuted by a cycle of its units and by an exchange of two, which together make every order, and scaled
    by random factors. It is done with weights near the module's own, in double precision where the module allows that.
    """
    if not permutations and not scales:
        return (), ()
    for dtype in TOLERANCE:
        with left_as_it_was(module), on_copies(module):
            test = _Test.of(module, inputs, dtype)
            if test is not None:
                orders = tuple(group for group in permutations if all(map(test.holds, _reordered(group, test.state))))
                factors = tuple(group for group in scales if test.holds(_rescaled(group, test.state)))
                return orders, factors
    return (), ()


class _Test:
    """A state of the module, and what it gives out: another state is held against it."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], state: State, expected: Run) -> None:
        self._module, self._inputs, self.state = module, inputs, state
        self._expected = [output.detach() for output in expected.outputs]

    @classmethod
    def of(cls, module: nn.Module, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> _Test | None:
        """With as much noise on the weights as leaves the path as it is; `None` where the precision is not taken."""
        own = module.state_dict(keep_vars=True)
        path = run(module, inputs, dict(module.named_parameters())).path
        converted = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
        before = {name: tensor.data for name, tensor in own.items()}
        for noise in NOISE:
            state = {name: _noisy(name, value, noise, i) for i, (name, value) in enumerate(before.items())}
            test = cls(module, converted, state, Run((), (), {}))
            found = test._run(state)
            if found is not None and found.path == path and all(bool(x.isfinite().all()) for x in found.outputs):
                return cls(module, converted, state, found)
        return None

    def holds(self, state: State) -> bool:
        """Whether the outputs are those that were expected, to rounding."""
        found = self._run(state)
        if found is None or len(found.outputs) != len(self._expected):
            return False
        return all(map(_close, found.outputs, self._expected))

    def _run(self, state: Mapping[str, Tensor]) -> Run | None:
        own = self._module.state_dict(keep_vars=True)
        for name, value in state.items():
            own[name].data = value.clone()
        try:
            return run(self._module, self._inputs, dict(self._module.named_parameters()))
        except Exception:  # another path, or a precision that it does not take
            return None


def _noisy(name: str, value: Tensor, noise: float, seed: int) -> Tensor:
    """Near a tensor, positive where it is; whole numbers as they are."""
    if not value.is_floating_point() or not value.numel():
        return value
    rng = torch.Generator().manual_seed(SEED + seed)
    first, second = (torch.randn(value.shape, generator=rng, dtype=torch.float64).to(value) for _ in range(2))
    scaled = value * (noise * first).exp()
    if "running_var" in name:
        return scaled
    size = float(value.square().mean().sqrt()) or 0.3
    return scaled + noise * size * second


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not found.is_floating_point():
        return torch.equal(found, expected)
    tolerance = TOLERANCE.get(found.dtype, 1e-2) * float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found.detach(), expected, rtol=0, atol=tolerance)


def _reordered(group: Group, state: State) -> Iterator[State]:
    """The state with the group's units in a cycle, and with its first two exchanged."""
    cycle, exchange = torch.arange(group.units).roll(1), torch.arange(group.units)
    exchange[:2] = exchange[:2].flip(0)
    for order in (cycle, exchange):
        changed = _copied(group, state)
        for place in group.places:
            values = place.by_unit(changed[place.tensor][None])
            place.stretch(changed[place.tensor][None]).copy_(values[:, :, order].reshape(_shape(place, changed)))
        yield changed


def _rescaled(group: Group, state: State) -> State:
    """The state with every unit at another scale."""
    changed = _copied(group, state)
    factors = torch.rand(group.units, generator=torch.Generator().manual_seed(SEED)) * 2 + 0.4
    for place in group.places:
        values = place.by_unit(changed[place.tensor][None])
        scale = (factors.to(values) ** place.exponent)[:, None]
        place.stretch(changed[place.tensor][None]).copy_((values * scale).reshape(_shape(place, changed)))
    return changed


def _shape(place: Place, state: State) -> torch.Size:
    return place.stretch(state[place.tensor][None]).shape


def _copied(group: Group, state: State) -> State:
    """The state, with copies of the tensors that the group is in."""
    return {name: value.clone() if name in group.tensors else value for name, value in state.items()}
