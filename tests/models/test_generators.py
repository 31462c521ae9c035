from __future__ import annotations

import pytest
import torch

from weightsmith.denoisers.mlp import TimeMLP
from weightsmith.errors import BadInput
from weightsmith.generators import make_generator
from weightsmith.generators.baselines import FixedGenerator, copy_of, extrapolation_of, mean_of
from weightsmith.generators.transition import make_transition
from weightsmith.interfaces import Condition, Generator
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.settings.registry import GENERATORS
from weightsmith.tokens import Tokens, TokenSpace

DIM = 5
CONTRACT = {
    "transition": lambda: make_generator("transition", TokenSpace.single(DIM), {"hidden": 7, "time_embedding": 3}, 0),
    "baseline": lambda: FixedGenerator(torch.arange(float(DIM))),
}
RNG = torch.Generator()


def starts(n: int) -> Tokens:
    return Tokens.single(torch.randn(n, DIM, generator=torch.Generator().manual_seed(1)))


def test_every_registered_generator_is_in_the_table() -> None:
    assert set(GENERATORS) <= set(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_samples_have_the_asked_number_and_repeat(name: str) -> None:
    generator = CONTRACT[name]()
    assert isinstance(generator, Generator)
    condition = Condition(start=starts(4))
    first = generator.sample(4, condition, RNG, steps=3).final
    assert first.values.shape == (4, 1, DIM)
    assert torch.equal(first.values, generator.sample(4, condition, RNG, steps=3).final.values)


def test_the_trajectory_applies_the_network_with_the_step_as_time() -> None:
    generator = CONTRACT["transition"]()
    states = generator.sample(2, Condition(start=starts(2)), RNG, steps=2).states
    assert len(states) == 3
    z = starts(2).vectors()
    with torch.no_grad():
        for step in range(2):
            z = generator.network(z, torch.full((2,), float(step)))
            torch.testing.assert_close(states[step + 1].vectors(), z)


def test_the_same_seed_gives_the_same_network() -> None:
    first, second = make_transition(TokenSpace.single(3), 4), make_transition(TokenSpace.single(3), 4)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))


@pytest.mark.parametrize("start", [None, 3])
def test_a_missing_start_or_wrong_number_is_refused(start: int | None) -> None:
    condition = Condition(start=None if start is None else starts(start))
    with pytest.raises(BadInput, match="start"):
        CONTRACT["transition"]().sample(2, condition, RNG, steps=1)


def test_a_condition_it_does_not_understand_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"(?s)'accuracy'.*understands start"):
        CONTRACT["transition"]().sample(2, Condition(start=starts(2), accuracy=0.9), RNG, steps=1)


def test_the_dense_model_has_the_notes_parameters() -> None:
    with torch.device("meta"):
        network = TimeMLP(421_642)
    assert sum(parameter.numel() for parameter in network.parameters()) == 432_528_522


def test_the_network_uses_both_weights_and_time() -> None:
    torch.manual_seed(0)
    network = TimeMLP(3, time_embedding=4, hidden=6, layers=1)
    x, t = torch.randn(5, 3), torch.arange(5.0)
    y = network(x, t)
    assert y.shape == (5, 3)
    assert not torch.allclose(y, network(x + 1, t))
    assert not torch.allclose(y, network(x, t + 1))


def test_pairs_are_successive_epochs() -> None:
    trajectory = Tokens.single(torch.arange(12.0).view(4, 3))
    pairs = transition_pairs(trajectory)
    assert pairs["time"].tolist() == [0, 1, 2]
    assert torch.equal(pairs["next"] - pairs["now"], torch.full((3, 3), 3.0))
    with pytest.raises(BadInput, match="no transition"):
        transition_pairs(trajectory[:1])


def test_the_loss_is_the_mean_squared_error_over_batch_and_dimensions() -> None:
    generator = make_transition(TokenSpace.single(3), 0, time_embedding=2, hidden=4)
    pairs = transition_pairs(Tokens.single(torch.randn(4, 3)))
    expected = (generator.network(pairs["now"], pairs["time"]) - pairs["next"]).square().sum() / 9
    torch.testing.assert_close(transition_loss(generator, pairs, RNG).loss, expected)


def test_baselines_answer_with_what_they_say() -> None:
    trajectory = Tokens.single(torch.tensor([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]]))

    def answer(generator: FixedGenerator) -> list[float]:
        found = generator.sample(3, Condition(), RNG).final.vectors()
        assert torch.equal(found, found[:1].expand(3, -1))
        return found[0].tolist()

    assert answer(copy_of(trajectory, 1)) == [1.0, 1.0]
    assert answer(mean_of(trajectory)) == pytest.approx([4 / 3, 1.0])
    assert answer(extrapolation_of(trajectory)) == [5.0, -1.0]
    with pytest.raises(BadInput, match="extrapolated"):
        extrapolation_of(trajectory[:1])
