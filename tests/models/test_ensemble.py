from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.datasets import Split, load_dataset
from weightsmith.ensemble import Evaluation, TrainingPlan, choose_device, choose_precision, evaluate, train_network
from weightsmith.errors import BadInput, Diverged
from weightsmith.layout import Weights

CPU = torch.device("cpu")
SMALL = Architecture("target_cnn", (1, 28, 28), 10, {"channels1": 4, "channels2": 6, "hidden": 16})
PLAN = TrainingPlan(epochs=3, batch_size=50, optimizer="adam", learning_rate=2e-3, precision="fp32")


@pytest.fixture(scope="module")
def digits() -> Split:
    return load_dataset("digits").train.head(230)


def trained(split: Split, plan: TrainingPlan, seed: int = 0, stop: int = 99) -> tuple[nn.Module, list]:
    module, states = SMALL.build(1), []
    for state in train_network(module, split, plan, seed, CPU):
        model = {name: value.clone() for name, value in state.model.items()}
        states.append((state, model))
        if state.epoch == stop:
            break
    return module, states


def test_training_is_the_plain_loop(digits: Split) -> None:
    """The fast loop against the one everybody writes, given the same order."""
    from weightsmith.seeds import derive_seed

    module, _ = trained(digits, PLAN)
    plain = SMALL.build(1)
    optimizer = torch.optim.Adam(plain.parameters(), 2e-3)
    for epoch in (1, 2, 3):
        rng = torch.Generator().manual_seed(derive_seed(0, "order", epoch))
        for rows in torch.randperm(len(digits), generator=rng).split(50):
            optimizer.zero_grad()
            F.cross_entropy(plain(digits.images[rows]), digits.labels[rows]).backward()
            optimizer.step()
    for fast, slow in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(fast, slow, atol=2e-3, rtol=2e-2)


def test_equal_seeds_give_equal_bits_and_others_do_not(digits: Split) -> None:
    first, second, other = (trained(digits, PLAN, seed)[0] for seed in (0, 0, 1))
    vectors = Weights.of(first, second, other).vectors
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_run_is_bitwise_the_whole_one(digits: Split, optimizer: str) -> None:
    plan = TrainingPlan(3, 50, optimizer, 1e-3, "fp32")
    whole, _ = trained(digits, plan)
    _, states = trained(digits, plan, stop=1)
    module, state = SMALL.build(1), states[-1][0]
    state.model = states[-1][1]
    list(train_network(module, digits, plan, 0, CPU, resume=state))
    assert torch.equal(Weights.of(module).vectors, Weights.of(whole).vectors)


def test_divergence_is_raised(digits: Split) -> None:
    with pytest.raises(Diverged, match="epoch 1"):
        trained(digits, TrainingPlan(2, 50, "sgd", 1e30, "fp32"))


def test_evaluation_is_the_plain_forward_pass(digits: Split) -> None:
    modules = [SMALL.build(seed) for seed in (1, 2, 3)]
    found = evaluate(modules[0], Weights.of(*modules), digits, batch_size=64)
    for module, evaluation in zip(modules, found, strict=True):
        with torch.no_grad():
            logits = module.eval()(digits.images)
        assert evaluation.accuracy == float((logits.argmax(1) == digits.labels).double().mean())
        assert evaluation.loss == pytest.approx(float(F.cross_entropy(logits, digits.labels)), rel=1e-5)


def test_evaluation_leaves_the_module_and_the_threads_as_they_were(digits: Split) -> None:
    module, threads = SMALL.build(0).train(), torch.get_num_threads()
    before = Weights.of(module).vectors.clone()
    evaluate(module, Weights.of(SMALL.build(1), SMALL.build(2)), digits)
    assert torch.equal(Weights.of(module).vectors, before)
    assert module.training
    assert torch.get_num_threads() == threads


def test_norms_are_evaluated_with_their_running_statistics(digits: Split) -> None:
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))
    module.train()(digits.images[:50])
    expected = module.eval()(digits.images).argmax(1)
    assert torch.equal(evaluate(module, Weights.of(module), digits)[0].predictions, expected)


def test_bfloat16_agrees_with_float32(digits: Split) -> None:
    module, _ = trained(digits, PLAN)
    weights = Weights.of(module)
    exact = evaluate(module, weights, digits)[0]
    rounded = evaluate(module, weights, digits, precision="bf16")[0]
    assert abs(exact.accuracy - rounded.accuracy) < 0.02
    assert rounded.loss == pytest.approx(exact.loss, rel=0.02)


def test_the_notes_loss_is_256_times_the_mean_where_batches_are_full() -> None:
    losses = torch.rand(512)
    evaluation = Evaluation(torch.zeros(512).long(), losses, torch.zeros(512).long())
    assert evaluation.note_loss == pytest.approx(256 * float(losses.mean()), rel=1e-5)


def test_the_notes_loss_of_chance_is_near_its_published_value() -> None:
    """10,000 images at the loss of a uniform guess, log 10; the note publishes 591.4 for its random init."""
    losses = torch.full((10_000,), torch.log(torch.tensor(10.0)))
    evaluation = Evaluation(torch.zeros(10_000).long(), losses, torch.zeros(10_000).long())
    assert evaluation.note_loss == pytest.approx((39 * 256**2 + 16**2) / 10_000 * float(losses[0]), rel=1e-5)
    assert evaluation.note_loss == pytest.approx(591.4, rel=0.01)


def test_a_device_this_machine_lacks_is_refused() -> None:
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    missing = next(name for name in ("cuda", "mps") if name != choose_device("auto").type)
    with pytest.raises(BadInput, match="not on this machine"):
        choose_device(missing)
    with pytest.raises(BadInput):
        choose_device("tpu")


def test_precision_is_what_is_asked_or_what_the_processor_has() -> None:
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) in ("bf16", "fp32")


def test_dropout_follows_from_the_seed(digits: Split) -> None:
    def trained_with(seed: int, noise_before: int) -> torch.Tensor:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
        torch.manual_seed(noise_before)  # what the process did before must not matter
        list(train_network(module, digits, PLAN, seed, CPU))
        return Weights.of(module).vectors

    assert torch.equal(trained_with(0, noise_before=1), trained_with(0, noise_before=2))
    assert not torch.equal(trained_with(0, noise_before=1), trained_with(1, noise_before=1))
