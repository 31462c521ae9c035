"""Log-probabilities: against torch's Normal, summed over what counts, and ratios that keep their digits."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from weightsmith.diffusion import Transition, log_prob, log_ratio
from weightsmith.errors import BadInput

SHAPE = (5, 3, 4)
STD = torch.tensor([0.1, 0.5, 1.0, 2.0, 1e-3], dtype=torch.float64)


def states(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def normal(mean: torch.Tensor) -> Normal:
    return Normal(mean.double(), STD[:, None, None])


def test_sum_over_dimensions_of_the_normal_log_density() -> None:
    mean = states(0)
    next_state = mean + STD[:, None, None].float() * states(1)
    found = log_prob(Transition(mean, STD), next_state)
    assert found is not None
    assert found.dtype == torch.float32
    expected = normal(mean).log_prob(next_state.double()).sum(dim=(1, 2))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4), (4,), (1, 3, 4), (5, 3, 4), (5, 1, 1)])
def test_what_is_not_counted_may_be_anything(shape: tuple[int, ...]) -> None:
    counted = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.4
    mean = states(0)
    next_state = mean + STD[:, None, None].float() * states(1)
    terms = normal(mean).log_prob(next_state.double())
    expected = torch.where(counted.expand(SHAPE), terms, 0).sum(dim=(1, 2))
    spoiled = torch.where(counted.expand(SHAPE), next_state, torch.nan)
    found = log_prob(Transition(mean, STD), spoiled, counted)
    assert found is not None
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    found = log_ratio(Transition(mean, STD), Transition(mean + 0.001, STD), spoiled, counted)
    assert torch.isfinite(found).all()


def test_a_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInput, match=r"mask \[5, 3\] does not fit states \[5, 3, 4\]"):
        log_prob(Transition(states(0), STD), states(1), torch.ones(5, 3, dtype=torch.bool))


def test_no_density_where_nothing_is_drawn() -> None:
    mean = states(0)
    assert log_prob(Transition(mean), mean) is None
    std = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
    found = log_prob(Transition(mean, std), states(1))
    assert found is not None
    assert (found[::2] == 0).all()
    assert (found[1::2] != 0).all()
    with pytest.raises(BadInput, match="deterministic"):
        log_ratio(Transition(mean), Transition(mean), mean)
    assert (log_ratio(Transition(mean + 1, std), Transition(mean, std), states(1))[::2] == 0).all()


def test_ratio_is_the_difference_of_log_probabilities() -> None:
    old, new = Transition(states(0), STD + 1), Transition(states(0) + 0.1 * states(3), 1.1 * STD + 1)
    next_state = states(1)
    after, before = log_prob(new, next_state), log_prob(old, next_state)
    assert after is not None
    assert before is not None
    torch.testing.assert_close(log_ratio(new, old, next_state), after - before, rtol=1e-4, atol=1e-4)
    assert (log_ratio(old, old, next_state) == 0).all()


def test_ratio_keeps_its_digits_where_there_are_many_dimensions() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, z = torch.randn(1, 400_000, generator=rng), torch.randn(1, 400_000, generator=rng)
    moved, std = mean + 1e-5 * torch.randn(1, 400_000, generator=rng), torch.tensor([0.01])
    next_state = mean + 0.01 * z
    wide = Normal(moved.double(), 0.01).log_prob(next_state.double()) - Normal(mean.double(), 0.01).log_prob(
        next_state.double()
    )
    found = log_ratio(Transition(moved, std), Transition(mean, std), next_state)
    assert found.item() == pytest.approx(wide.sum().item(), abs=1e-3)


def test_gradient_is_the_score() -> None:
    mean = states(0).double().requires_grad_()
    next_state = states(1).double()
    found = log_prob(Transition(mean, STD), next_state)
    assert found is not None
    found.sum().backward()
    assert mean.grad is not None
    expected = (next_state - mean.detach()) / STD[:, None, None] ** 2
    torch.testing.assert_close(mean.grad, expected, rtol=1e-6, atol=1e-6)
