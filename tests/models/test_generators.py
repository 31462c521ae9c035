from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from weightsmith.denoisers.mlp import TimeMLP
from weightsmith.errors import BadInput
from weightsmith.generators import make_generator
from weightsmith.generators.baselines import (
    BestOf,
    CoordinateGaussian,
    FixedGenerator,
    NoisedCheckpoints,
    PairBlend,
    PcaGaussian,
    Retrieval,
    copy_of,
    extrapolation_of,
    mean_of,
    noise_sweep,
)
from weightsmith.generators.transition import make_transition
from weightsmith.interfaces import Condition, Generator
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.settings.registry import GENERATORS
from weightsmith.tokens import TokenMeaning, Tokens, TokenSpace

DIM = 5
MEANINGS = (TokenMeaning("a", 0), TokenMeaning("a", 1), TokenMeaning("b", 0))
RNG = torch.Generator()


def units(n: int, seed: int = 2) -> Tokens:
    """Networks of three tokens, the last one shorter than the others."""
    values = torch.randn(n, 3, DIM, generator=torch.Generator().manual_seed(seed)) + torch.arange(3.0)[:, None]
    values[:, 2, 3:] = 0
    return Tokens(values, torch.ones(n, 3, dtype=torch.bool), MEANINGS)


def first_number(tokens: Tokens) -> torch.Tensor:
    return tokens.values[:, 0, 0]


CONTRACT: dict[str, Callable[[], Any]] = {
    "transition": lambda: make_generator("transition", TokenSpace.single(DIM), {"hidden": 7, "time_embedding": 3}, 0),
    "diffusion": lambda: make_generator("diffusion", TokenSpace.single(DIM), {"width": 6, "blocks": 1, "steps": 3}, 0),
    "copy": lambda: copy_of(units(4), 2),
    "noise": lambda: NoisedCheckpoints(units(4), 0.3),
    "average": lambda: PairBlend(units(4)),
    "interpolation": lambda: PairBlend(units(4), None),
    "coordinate gaussian": lambda: CoordinateGaussian(units(4)),
    "pca gaussian": lambda: PcaGaussian(units(6), 2),
    "retrieval": lambda: Retrieval(units(4), torch.tensor([0.2, 0.9, 0.4, 0.6])),
    "best of": lambda: BestOf(CoordinateGaussian(units(4)), 3, first_number),
}
BASELINES = [name for name in CONTRACT if name not in GENERATORS]


def starts(n: int) -> Tokens:
    return Tokens.single(torch.randn(n, DIM, generator=torch.Generator().manual_seed(1)))


def test_every_registered_generator_is_in_the_table() -> None:
    assert set(GENERATORS) <= set(CONTRACT)


def condition_for(generator: Generator, n: int) -> Condition:
    """What a generator needs, if it needs anything."""
    return Condition(start=starts(n)) if generator.understands == {"start"} else Condition()


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("n", [7, 1])
def test_samples_have_the_asked_number_and_repeat(name: str, n: int) -> None:
    generator = CONTRACT[name]()
    assert isinstance(generator, Generator)
    condition = condition_for(generator, n)
    first = generator.sample(n, condition, RNG.manual_seed(3), steps=2).final
    again = generator.sample(n, condition, RNG.manual_seed(3), steps=2).final
    assert first.values.shape == (n, 1 if name in GENERATORS else 3, DIM)
    assert first.mask.shape == first.values.shape[:2]
    assert torch.equal(first.values, again.values)


@pytest.mark.parametrize("name", CONTRACT)
def test_an_unknown_condition_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadInput, match="'architecture'"):
        CONTRACT[name]().sample(2, Condition(architecture="mlp"), RNG, steps=1)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_keep_the_form_and_the_padding_of_the_training_networks(name: str) -> None:
    found = CONTRACT[name]().sample(5, Condition(), RNG.manual_seed(0), steps=1).final
    assert found.meanings == MEANINGS
    assert bool(found.mask.all())
    assert bool((found.values[:, 2, 3:] == 0).all())
    assert bool((found.values[:, 2, :3] != 0).all())


@pytest.mark.parametrize(
    "name", ["noise", "average", "interpolation", "coordinate gaussian", "pca gaussian", "best of"]
)
def test_random_baselines_follow_the_seed(name: str) -> None:
    one, other = (CONTRACT[name]().sample(6, Condition(), RNG.manual_seed(seed), steps=1).final for seed in (1, 2))
    assert not torch.equal(one.values, other.values)
    assert len(one.values.flatten(1).unique(dim=0)) > 1


def test_the_trajectory_applies_the_network_with_the_step_as_time() -> None:
    generator = CONTRACT["transition"]()
    states = generator.sample(2, Condition(start=starts(2)), RNG, steps=2, keep="all").states
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
    with pytest.raises(BadInput, match="extrapolation cannot be made of 1"):
        extrapolation_of(trajectory[:1])


def test_noise_is_relative_to_each_token_and_swept_in_scale() -> None:
    training = units(1)
    training.values[0, 1] *= 100
    for scale, generator in noise_sweep(training, (0.0, 0.5)).items():
        noise = generator.sample(4000, Condition(), RNG.manual_seed(0)).final.values - training.values
        wanted = scale * torch.stack([training.values[0, 0], training.values[0, 1]]).square().mean(dim=1).sqrt()
        torch.testing.assert_close(noise[:, :2].std(dim=(0, 2)), wanted, rtol=0.03, atol=0)
        short = scale * training.values[0, 2, :3].square().mean().sqrt()  # its padding does not dilute the scale
        torch.testing.assert_close(noise[:, 2, :3].std(), short, rtol=0.03, atol=0)


def test_noised_copies_are_of_every_training_network() -> None:
    training = units(3)
    found = NoisedCheckpoints(training, 0.0).sample(50, Condition(), RNG.manual_seed(0)).final.values
    assert torch.equal(found.flatten(1).unique(dim=0), training.values.flatten(1).unique(dim=0))


def test_averages_are_of_all_pairs_of_different_networks() -> None:
    values = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    found = PairBlend(Tokens.single(values)).sample(400, Condition(), RNG.manual_seed(0)).final.vectors()[:, 0]
    assert {2 * v for v in found.tolist()} == {11, 101, 1001, 110, 1010, 1100}


def test_interpolations_lie_between_two_networks_anywhere() -> None:
    found = PairBlend(Tokens.single(torch.tensor([[0.0, 1.0], [4.0, 1.0]])), None)
    vectors = found.sample(2000, Condition(), RNG.manual_seed(0)).final.vectors()
    assert bool((vectors[:, 1] == 1).all())
    share = vectors[:, 0] / 4
    assert 0 <= float(share.min()) < 0.01
    assert 0.99 < float(share.max()) <= 1
    assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(share.var()) == pytest.approx(1 / 12, abs=0.01)


def test_a_blend_aligns_the_second_network_to_the_first() -> None:
    training = Tokens.single(torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]))

    def align(network: Tokens, reference: Tokens) -> Tokens:
        same = network.vectors().argsort(dim=1) == reference.vectors().argsort(dim=1)
        return Tokens.single(torch.where(same, network.vectors(), network.vectors().flip(1)))

    found = PairBlend(training, 0.5, align).sample(20, Condition(), RNG.manual_seed(0)).final.vectors()
    assert {tuple(v) for v in found.tolist()} == {(1.0, 2.0), (2.0, 1.0)}
    unaligned = PairBlend(training).sample(20, Condition(), RNG.manual_seed(0)).final.vectors()
    assert (1.5, 1.5) in {tuple(v) for v in unaligned.tolist()}


def test_gaussians_have_the_moments_of_the_training_networks() -> None:
    training = units(5)
    flat = training.values.flatten(1)
    per_coordinate = (
        CoordinateGaussian(training).sample(20_000, Condition(), RNG.manual_seed(0)).final.values.flatten(1)
    )
    torch.testing.assert_close(per_coordinate.mean(dim=0), flat.mean(dim=0), atol=0.05, rtol=0)
    torch.testing.assert_close(per_coordinate.T.cov(), flat.T.cov().diagonal().diag(), atol=0.12, rtol=0)
    whole = PcaGaussian(training).sample(20_000, Condition(), RNG.manual_seed(0)).final.values.flatten(1)
    torch.testing.assert_close(whole.mean(dim=0), flat.mean(dim=0), atol=0.05, rtol=0)
    torch.testing.assert_close(whole.T.cov(), flat.T.cov(), atol=0.12, rtol=0)


def test_principal_components_are_the_largest_and_at_most_one_fewer_than_networks() -> None:
    training = units(6)
    assert PcaGaussian(training).components == PcaGaussian(training, 99).components == 5
    generator = PcaGaussian(training, 2)
    centred = training.values.flatten(1) - training.values.flatten(1).mean(dim=0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    axes = generator.axes.flatten(1)
    torch.testing.assert_close(axes.norm(dim=1), singular[:2] / 5**0.5)
    torch.testing.assert_close((axes @ directions[:2].T).abs(), (singular[:2] / 5**0.5).diag(), atol=1e-5, rtol=1e-5)


def test_retrieval_gives_the_best_network_or_the_one_nearest_to_the_wish() -> None:
    training = Tokens.single(torch.arange(4.0)[:, None])
    generator = Retrieval(training, torch.tensor([0.2, float("nan"), 0.9, 0.6]))

    def answer(accuracy: float | torch.Tensor | None) -> list[float]:
        return generator.sample(3, Condition(accuracy=accuracy), RNG).final.vectors()[:, 0].tolist()

    assert answer(None) == [2, 2, 2]
    assert answer(0.5) == [3, 3, 3]
    assert answer(torch.tensor([0.1, 0.8, 0.7])) == [0, 2, 3]
    with pytest.raises(BadInput, match="2 wanted accuracies for 3"):
        answer(torch.tensor([0.1, 0.8]))
    with pytest.raises(BadInput, match="validation accuracy"):
        Retrieval(training, torch.full((4,), float("nan")))


def test_best_of_keeps_the_best_draw_of_each_sample() -> None:
    inner = CoordinateGaussian(units(4))
    draws = [inner.sample(5, Condition(), RNG.manual_seed(9), steps=1).final]
    draws += [inner.sample(5, Condition(), RNG, steps=1).final for _ in range(2)]
    stacked = torch.stack([draw.values for draw in draws])
    chosen = torch.stack([first_number(draw) for draw in draws]).argmax(dim=0)
    found = BestOf(inner, 3, first_number).sample(5, Condition(), RNG.manual_seed(9)).final.values
    assert torch.equal(found, stacked[chosen, torch.arange(5)])
    assert len(chosen.unique()) > 1


def test_a_score_that_is_not_a_number_loses() -> None:
    answers = iter(torch.tensor([[float("nan"), 0.1], [0.0, float("nan")], [-1.0, float("nan")]]))
    inner = CoordinateGaussian(units(4))
    draws = [inner.sample(2, Condition(), RNG.manual_seed(9), steps=1).final]
    draws += [inner.sample(2, Condition(), RNG, steps=1).final]
    found = BestOf(inner, 3, lambda _: next(answers)).sample(2, Condition(), RNG.manual_seed(9)).final.values
    assert torch.equal(found, torch.stack([draws[1].values[0], draws[0].values[1]]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoisedCheckpoints(units(3), -1.0),
        lambda: PairBlend(units(1)),
        lambda: PairBlend(units(3), 1.5),
        lambda: CoordinateGaussian(units(1)),
        lambda: PcaGaussian(units(3), 0),
        lambda: BestOf(CoordinateGaussian(units(3)), 0, first_number),
        lambda: FixedGenerator(units(2)),
        lambda: mean_of(units(3)[:0]),
    ],
)
def test_baselines_refuse_what_they_cannot_be_made_of(make: Callable[[], Any]) -> None:
    with pytest.raises(BadInput, match="remedy: give"):
        make()
