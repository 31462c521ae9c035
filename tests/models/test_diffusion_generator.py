"""The diffusion generator: it learns a known distribution, keeps padding and given numbers, and listens when asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from weightsmith.errors import BadInput
from weightsmith.generators import make_generator
from weightsmith.generators.diffusion import DiffusionGenerator
from weightsmith.interfaces import Condition, Given
from weightsmith.objectives.matching import VALUES, matching_loss
from weightsmith.tokens import TokenMeaning, TokenSpace
from weightsmith.training import LoopSettings, Trainer

VALID = torch.tensor([[True, True, True, True], [True, True, True, False], [True, False, False, False]])
SPACE = TokenSpace(
    (TokenMeaning("a.weight", 0, 0, "weight"), TokenMeaning("a.weight", 1, 0, "weight"), TokenMeaning("b.weight", 0)),
    VALID,
)
PATHS = {"flow": "velocity", "vp-cosine": "v", "vp-linear": "noise"}


def made(**options: Any) -> DiffusionGenerator:
    whole = {"width": 16, "blocks": 1, "condition_width": 8, "timesteps": 20, "steps": 4, **options}
    generator = make_generator("diffusion", SPACE, whole, 0)
    assert isinstance(generator, DiffusionGenerator)
    for parameter in generator.network.parameters():  # what is zero at first would let every test pass
        torch.nn.init.normal_(parameter, std=0.3)
    return generator


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 4, generator=rng(5)) * VALID


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("denoiser", ["simple", "mlp", "transformer"])
def test_padding_stays_zero_and_influences_nothing(path: str, denoiser: str) -> None:
    generator = made(path=path, prediction=PATHS[path], denoiser=denoiser, sampler="ddpm" if "vp" in path else "euler")
    found = generator.sample(5, Condition(), rng()).final
    assert found.values.shape == (5, 3, 4)
    assert not found.values[:, ~VALID].any()
    assert found.values[:, VALID].all()
    batch = networks(6)
    dirty = torch.where(VALID, batch, 7.0)
    losses = [matching_loss(generator, {VALUES: values}, rng()).loss for values in (batch, dirty)]
    assert losses[0] == losses[1]


def test_a_distribution_is_learned() -> None:
    """Two networks are learned by heart: what is sampled is one or the other, about as often."""
    generator = make_generator("diffusion", SPACE, {"width": 64, "blocks": 2, "condition_width": 16}, 0)
    pair = networks(2) * 2
    settings = LoopSettings(updates_per_epoch=300, clip_norm=1.0, ema_decay=0.98)
    trainer = Trainer(generator, matching_loss, {VALUES: pair}, 64, 3e-3, 0, settings=settings)
    trainer.run(3)
    trainer.finish()
    found = generator.sample(200, Condition(), rng(), steps=40).final.values
    distances = torch.cdist(found.flatten(1), pair.flatten(1))
    apart = float((pair[0] - pair[1]).norm())
    assert float((distances.min(dim=1).values < 0.2 * apart).double().mean()) > 0.9
    assert 0.3 < float((distances.argmin(dim=1) == 0).double().mean()) < 0.7


def test_the_loss_is_that_of_a_network_that_says_nothing() -> None:
    """Zero output: the loss is the mean square of the target, here the velocity `noise - x0`, in closed form."""
    generator = make_generator("diffusion", SPACE, {"width": 8, "blocks": 1}, 0)  # its output is zero at first
    x0 = networks(4000)
    loss = float(matching_loss(generator, {VALUES: x0}, rng(1)).loss.detach())
    assert loss == pytest.approx(1 + float(x0[:, VALID].square().mean()), rel=0.03)


@pytest.mark.parametrize("sampler", ["ddpm", "flow-sde"])
def test_a_stochastic_sampler_says_how_probable_its_steps_are(sampler: str) -> None:
    path = "flow" if sampler == "flow-sde" else "vp-cosine"
    generator = made(path=path, prediction="v", sampler=sampler)
    assert generator.has_likelihood
    found = generator.sample(5, Condition(), rng(), keep="all")
    assert len(found.states) == 5
    assert len(found.means) == len(found.deviations) == len(found.log_probabilities) == 4
    first, second = found.states[0].values, found.states[1].values
    assert not torch.equal(first, second)
    deviation = found.deviations[0][:, None, None]
    each = torch.distributions.Normal(found.means[0], deviation.float()).log_prob(second)
    torch.testing.assert_close(found.log_probabilities[0], (each * VALID).sum(dim=(1, 2)), rtol=1e-4, atol=1e-4)
    assert not made().has_likelihood
    assert made().sample(2, Condition(), rng(), keep="all").log_probabilities == ()


def test_what_is_asked_changes_what_comes() -> None:
    generator = made(conditions=["accuracy"], datasets=["mnist", "digits"])
    generator.denoiser.conditions.observe({"accuracy": torch.linspace(0.5, 0.9, 20)})
    plain = generator.sample(3, Condition(), rng()).final.values
    low = generator.sample(3, Condition(accuracy=0.6), rng()).final.values
    each = generator.sample(3, Condition(accuracy=torch.tensor([0.6, 0.8, 0.6])), rng()).final.values
    digits = generator.sample(3, Condition(dataset="digits"), rng()).final.values
    assert not torch.equal(plain, low)
    assert not torch.equal(plain, digits)
    torch.testing.assert_close(each[[0, 2]], low[[0, 2]])
    assert not torch.allclose(each[1], low[1])
    strong = generator.sample(3, Condition(accuracy=0.6), rng(), guidance=3.0).final.values
    none = generator.sample(3, Condition(accuracy=0.6), rng(), guidance=0.0).final.values
    assert not torch.allclose(strong, low)
    torch.testing.assert_close(none, plain)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition(loss=0.1), "loss"),
        (Condition(dataset="cifar"), "cifar"),
        (Condition(accuracy=0.2), "0.2"),
        (Condition(start=SPACE.tokens(networks(2))), "start"),
        (Condition(given=Given(SPACE.tokens(networks(1)), VALID)), "given"),
    ],
)
def test_what_it_was_not_trained_for_is_refused(condition: Condition, said: str) -> None:
    generator = made(conditions=["accuracy"], datasets=["mnist"])
    generator.denoiser.conditions.observe({"accuracy": torch.linspace(0.5, 0.9, 20)})
    with pytest.raises(BadInput, match=said):
        generator.sample(2, condition, rng())


def test_an_unknown_sampler_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="euler"):
        made().sample(2, Condition(), rng(), sampler="eulr")


def test_given_numbers_are_kept_and_the_rest_depends_on_them() -> None:
    generator = made(given=True)
    known = torch.zeros(3, 4, dtype=torch.bool)
    known[:2] = VALID[:2]
    first, second = networks(2)
    found = [
        generator.sample(3, Condition(given=Given(SPACE.tokens(one[None]), known)), rng()).final.values
        for one in (first, second)
    ]
    for one, values in zip((first, second), found, strict=True):
        assert torch.equal(values[:, :2], one[:2].expand(3, -1, -1))
    assert not torch.allclose(found[0][:, 2], found[1][:, 2])


def test_learning_to_fill_in_looks_at_what_is_unknown_alone() -> None:
    """Whole tensors are shown at random, never all of them; the error of what is shown does not count."""
    generator = made(given=True)
    seen: list[Any] = []
    network = generator.network.forward

    def noted(x: Any, t: Any, conditions: Any, given: Any) -> Any:
        seen.append(given)
        return network(x, t, conditions, given)

    generator.network.forward = noted  # type: ignore[method-assign]
    matching_loss(generator, {VALUES: networks(400)}, rng())
    (given,) = seen
    per_token = given.known.any(dim=2)
    assert torch.equal(given.known, per_token[:, :, None] & VALID)
    assert torch.equal(per_token[:, 0], per_token[:, 1]), "tokens of one tensor are shown together"
    assert not (per_token[:, 0] & per_token[:, 2]).any()
    shares = per_token.double().mean(dim=0)
    assert 0.15 < float(shares[0]) < 0.6
    assert 0.15 < float(shares[2]) < 0.6


def test_gradients_flow_through_as_many_steps_as_asked() -> None:
    generator = made()
    values = generator.sample(2, Condition(), rng(), differentiable_steps=1).final.values
    values.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in generator.network.parameters())
    assert not generator.sample(2, Condition(), rng()).final.values.requires_grad


def test_a_memory_is_refused_where_the_denoiser_has_none() -> None:
    with pytest.raises(BadInput, match="only mlp has a memory"):
        make_generator("diffusion", TokenSpace.single(5), {"denoiser": "simple", "memory": 8}, 0)
