from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightsmith.architectures import Architecture
from weightsmith.datasets import Split, load_dataset
from weightsmith.ensemble import (
    Capture,
    Evaluation,
    Member,
    Method,
    Precision,
    TrainingPlan,
    can,
    choose_device,
    choose_precision,
    evaluate,
    train_networks,
)
from weightsmith.ensemble.arrangement import arranged
from weightsmith.ensemble.evaluation import _first_maximum
from weightsmith.errors import BadInput
from weightsmith.layout import Weights
from weightsmith.seeds import derive_seed

CPU = torch.device("cpu")
SMALL = Architecture("target_cnn", (1, 28, 28), 10, {"channels1": 4, "channels2": 6, "hidden": 16})
MLP = Architecture("mlp", (1, 28, 28), 10, {"hidden": [12, 7]})
PLAN = TrainingPlan(epochs=3, batch_size=50, optimizer="adam", precision="fp32")
MEMBER = Member(seed=0, learning_rate=2e-3)
MEMBERS = [Member(5, 1e-3), Member(6, 4e-3, weight_decay=1e-2), Member(7, 2e-3, momentum=0.5)]


@pytest.fixture(scope="module")
def digits() -> Split:
    return load_dataset("digits").train.head(230)


def trained(split: Split, plan: TrainingPlan = PLAN, member: Member = MEMBER, **options: object) -> list[Capture]:
    module = SMALL.build(1)
    return list(train_networks(module, Weights.of(module), split, plan, [member], **options))  # type: ignore[arg-type]


def together(split: Split, plan: TrainingPlan, members: Sequence[Member], method: Method = "stacked") -> list[Capture]:
    modules = [MLP.build(member.seed) for member in members]
    return list(train_networks(modules[0], Weights.of(*modules), split, plan, members, method=method))


def test_training_is_the_plain_loop(digits: Split) -> None:
    """The fast loop against the one everybody writes, given the same order."""
    plain = SMALL.build(1)
    optimizer = torch.optim.Adam(plain.parameters(), 2e-3)
    for epoch in (1, 2, 3):
        rng = torch.Generator().manual_seed(derive_seed(0, "order", epoch))
        for rows in torch.randperm(len(digits), generator=rng).split(50):
            optimizer.zero_grad()
            F.cross_entropy(plain(digits.images[rows]), digits.labels[rows]).backward()
            optimizer.step()
    torch.testing.assert_close(trained(digits)[-1].weights.vectors, Weights.of(plain).vectors, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("method", ["stacked", "vmap"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("order_seed", [None, 11])
def test_many_at_once_are_the_loop_over_50_steps(
    digits: Split, method: Method, optimizer: str, order_seed: int | None
) -> None:
    """Ten epochs of five steps; networks of one stack have hyperparameters of their own."""
    plan = TrainingPlan(10, 46, optimizer, "fp32", order_seed=order_seed)
    captures = together(digits, plan, MEMBERS, method)
    assert captures[-1].step == 50
    for i, member in enumerate(MEMBERS):
        module = MLP.build(member.seed)
        alone = list(train_networks(module, Weights.of(module), digits, plan, [member]))
        for capture, expected in zip(captures, alone, strict=True):
            torch.testing.assert_close(capture.weights.vectors[i], expected.weights.vectors[0], atol=2e-4, rtol=2e-3)
            assert float(capture.losses[i]) == pytest.approx(float(expected.losses[0]), rel=1e-3)


def test_a_stack_in_bfloat16_learns_what_the_loop_in_bfloat16_learns(digits: Split) -> None:
    plan = TrainingPlan(10, 46, "adam", "bf16")
    stack = together(digits, plan, MEMBERS, "stacked")[-1]
    for i, member in enumerate(MEMBERS):
        module = MLP.build(member.seed)
        alone = list(train_networks(module, Weights.of(module), digits, plan, [member]))[-1]
        assert float(stack.losses[i]) == pytest.approx(float(alone.losses[0]), rel=0.05)


@pytest.mark.parametrize("method", ["stacked", "vmap"])
def test_companions_do_not_matter_to_a_network(digits: Split, method: Method) -> None:
    pair = together(digits, PLAN, MEMBERS[:2], method)[-1].weights.vectors
    torch.testing.assert_close(together(digits, PLAN, MEMBERS, method)[-1].weights.vectors[:2], pair)


@pytest.mark.parametrize("method", ["loop", "stacked", "vmap"])
def test_captures_can_be_taken_between_epochs(digits: Split, method: Method) -> None:
    members = MEMBERS[:1] if method == "loop" else MEMBERS
    plan = TrainingPlan(2, 50, "adam", "fp32", capture_steps=3)  # five steps an epoch
    found = together(digits, plan, members, method)
    assert [(capture.step, capture.epoch) for capture in found] == [(3, 0), (5, 1), (6, 1), (9, 1), (10, 2)]
    assert [capture.state is not None for capture in found] == [False, True, False, False, True]
    coarse = together(digits, TrainingPlan(2, 50, "adam", "fp32"), members, method)
    assert torch.equal(found[-1].weights.vectors, coarse[-1].weights.vectors)
    assert len({capture.weights.vectors.data_ptr() for capture in found}) == 5


def test_equal_seeds_give_equal_bits_and_others_do_not(digits: Split) -> None:
    first, second, other = (trained(digits, member=Member(seed, 2e-3))[-1].weights.vectors for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_run_is_bitwise_the_whole_one(digits: Split, optimizer: str, epochs: int) -> None:
    plan = TrainingPlan(3, 50, optimizer, "fp32")
    whole = trained(digits, plan)
    resumed = trained(digits, plan, resume=whole[epochs - 1].state)
    assert [capture.epoch for capture in resumed] == [1, 2, 3][epochs:]
    assert torch.equal(resumed[-1].weights.vectors, whole[-1].weights.vectors)


@pytest.mark.parametrize("method", ["stacked", "vmap"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_stack_is_bitwise_the_whole_one(digits: Split, method: Method, optimizer: str) -> None:
    plan = TrainingPlan(3, 50, optimizer, "fp32")
    for members in (MEMBERS, [Member(seed, 1e-3) for seed in (1, 2, 3, 4)]):
        whole = together(digits, plan, members, method)
        module = MLP.build(0)
        start = Weights.of(module)[[0] * len(members)]  # what it starts from does not matter any more
        resumed = train_networks(module, start, digits, plan, members, method=method, resume=whole[0].state)
        assert torch.equal(list(resumed)[-1].weights.vectors, whole[-1].weights.vectors)


@pytest.mark.parametrize(
    ("method", "precision", "order_seed"),
    [
        ("stacked", "fp32", None),
        ("stacked", "fp32", 11),
        ("stacked", "bf16", None),
        ("stacked", "bf16", 11),
        ("vmap", "fp32", None),
        ("vmap", "fp32", 11),
    ],
)
def test_a_network_that_diverges_leaves_the_others_alone(
    digits: Split, method: Method, precision: Precision, order_seed: int | None
) -> None:
    plan = TrainingPlan(2, 50, "sgd", precision, order_seed=order_seed)
    wild = [MEMBERS[0], Member(1, 1e30), MEMBERS[1]]
    found = together(digits, plan, wild, method)[-1]
    assert found.weights.finite().tolist() == [True, False, True]
    assert [math.isfinite(loss) for loss in found.losses.tolist()][::2] == [True, True]
    calm = together(digits, plan, [MEMBERS[0], MEMBERS[2], MEMBERS[1]], method)[-1]
    torch.testing.assert_close(found.weights.vectors[[0, 2]], calm.weights.vectors[[0, 2]])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_network_of_nan_leaves_its_neighbours_alone(digits: Split, precision: Precision, place: int) -> None:
    modules = [MLP.build(seed) for seed in range(4)]
    sound = evaluate(modules[0], Weights.of(*modules), digits, precision=precision)
    for name in ("fc1", "fc2", "fc3"):
        with torch.no_grad():
            modules[2].get_submodule(name).weight.view(-1)[place] = float("nan")
        found = evaluate(modules[0], Weights.of(*modules), digits, precision=precision)
        for i in (0, 1, 3):
            assert torch.equal(found[i].losses, sound[i].losses)


def test_methods_fit_the_networks_that_they_can_compute(digits: Split) -> None:
    norm = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))
    residual = nn.TransformerEncoderLayer(8, 2)
    assert [can("stacked", form) for form in (MLP.build(0), SMALL.build(0), norm)] == [True, False, False]
    assert [can("vmap", form) for form in (SMALL.build(0), norm, residual)] == [True, False, True]
    with pytest.raises(BadInput, match="stacked"):
        list(train_networks(norm, Weights.of(norm), digits, PLAN, [MEMBER], method="stacked"))


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), nn.LeakyReLU(0.2, inplace=True), nn.GELU(), nn.ELU(0.5)])
def test_a_stack_computes_what_the_modules_compute(digits: Split, layer: nn.Module) -> None:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 9, bias=False), layer, nn.Tanh(), nn.Linear(9, 10), layer)

    modules = [build(seed) for seed in range(5)]
    for module, found in zip(modules, evaluate(modules[0], Weights.of(*modules), digits, batch_size=64), strict=True):
        with torch.no_grad():
            expected = F.cross_entropy(module(digits.images), digits.labels, reduction="none")
        torch.testing.assert_close(found.losses, expected, atol=1e-5, rtol=1e-4)


def test_a_chain_with_tied_or_hooked_layers_is_not_stacked() -> None:
    tied = nn.Linear(10, 10)
    first = [nn.Flatten(), nn.Linear(784, 10)]
    assert can("stacked", nn.Sequential(*first, tied))
    assert not can("stacked", nn.Sequential(*first, tied, tied))
    hooked = nn.Sequential(*first, nn.ReLU())
    hooked[2].register_forward_hook(lambda *_: None)
    assert not can("stacked", hooked)


def test_pooling_before_relu_is_the_same_network_and_gradient(digits: Split) -> None:
    module = SMALL.build(3)
    fast = arranged(module)
    assert [type(layer) for layer in fast][:3] == [nn.Conv2d, nn.MaxPool2d, nn.ReLU]
    images, labels = digits.images[:40], digits.labels[:40]
    found = []
    for form in (module, fast):
        loss = F.cross_entropy(form(images), labels)
        found.append((loss, *torch.autograd.grad(loss, list(module.parameters()))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(1, 3, 3), shared, nn.MaxPool2d(2), nn.MaxPool2d(2), shared, nn.Flatten())
    assert torch.equal(arranged(twice)(images), twice(images))


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
    module, weights = SMALL.build(1), trained(digits)[-1].weights
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
        captures = list(train_networks(module, Weights.of(module), digits, PLAN, [Member(seed, 1e-3)]))
        return captures[-1].weights.vectors

    assert torch.equal(trained_with(0, noise_before=1), trained_with(0, noise_before=2))
    assert not torch.equal(trained_with(0, noise_before=1), trained_with(1, noise_before=1))


def test_the_first_of_equal_outputs_is_predicted() -> None:
    outputs = torch.tensor([[0.0, 2.0, 2.0], [3.0, 3.0, 3.0], [-1.0, -2.0, -1.0]]).T[None]  # [network, class, image]
    assert _first_maximum(outputs).tolist() == [[1, 0, 0]]
    random = torch.randn(3, 11, 50)
    assert torch.equal(_first_maximum(random), random.argmax(dim=1))
    assert _first_maximum(torch.full((1, 4, 2), float("nan"))).tolist() == [[3, 3]]
