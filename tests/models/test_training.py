from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightsmith import optim
from weightsmith.errors import ArtifactError, Diverged
from weightsmith.generators.transition import make_transition
from weightsmith.interfaces import Generator, LossRecord
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.optim import OuterProductAdam
from weightsmith.tokens import Tokens, TokenSpace
from weightsmith.training import Trainer

PAIRS = transition_pairs(Tokens.single(torch.randn(6, 4, generator=torch.Generator().manual_seed(0))))


def trainer(state: Path | None = None, **changes: float) -> Trainer:
    settings = {"batch_size": 3, "learning_rate": 1e-2, "seed": 5} | changes
    generator = make_transition(TokenSpace.single(4), 1, time_embedding=3, hidden=8)
    return Trainer(generator, transition_loss, PAIRS, state_path=state, **settings)  # type: ignore[arg-type]


def parameters(of: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in of.generator.network.parameters()])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 7), nn.ReLU(), nn.Linear(7, 50))


@pytest.mark.parametrize("large", [1, 1000, 10**9])
def test_the_outer_product_adam_is_adam(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(optim, "LARGE", large)
    monkeypatch.setattr(optim, "CHUNK", 128)
    ours, theirs = network(), network()
    own, reference = OuterProductAdam(ours, 1e-2), torch.optim.Adam(theirs.parameters(), 1e-2)
    rng = torch.Generator().manual_seed(1)
    for _ in range(30):
        x, y = torch.randn(6, 40, generator=rng), torch.randn(6, 50, generator=rng)
        own.step(F.mse_loss(ours(x), y))
        reference.zero_grad()
        F.mse_loss(theirs(x), y).backward()
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_a_layer_used_twice_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 1)
    torch.manual_seed(0)
    ours = nn.Linear(5, 5)
    theirs = nn.Linear(5, 5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 5)
    own, reference = OuterProductAdam(ours, 1e-2), torch.optim.Adam(theirs.parameters(), 1e-2)
    own.step(ours(ours(x).relu()).square().mean())
    theirs(theirs(x).relu()).square().mean().backward()
    reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_large_layer_resumes_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 100)
    x = torch.randn(6, 40)

    def steps(model: nn.Module, optimizer: OuterProductAdam, count: int) -> None:
        for _ in range(count):
            optimizer.step(model(x).square().mean())

    whole, first, second = network(), network(), network()
    steps(whole, OuterProductAdam(whole, 1e-2), 6)
    before = OuterProductAdam(first, 1e-2)
    steps(first, before, 3)
    second.load_state_dict(first.state_dict())
    after = OuterProductAdam(second, 1e-2)
    after.restore({name: tensor.clone() for name, tensor in before.tensors().items()})
    steps(second, after, 3)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_converges_and_counts() -> None:
    found = trainer()
    before = found.loss()
    progress = found.run(300)
    assert (progress.epoch, progress.updates) == (300, 600)
    assert found.loss() < 0.01 * before


def test_an_epoch_shows_every_example_once() -> None:
    seen: list[float] = []

    def objective(generator: Generator, batch: dict[str, torch.Tensor], rng: torch.Generator) -> LossRecord:
        seen.extend(batch["time"].tolist())
        return transition_loss(generator, batch, rng)

    found = trainer()
    found.objective = objective  # type: ignore[assignment]
    found.run(4)
    epochs = [seen[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_resumed_training_is_bitwise_the_whole_one(tmp_path: Path) -> None:
    whole = trainer()
    whole.run(20)
    first = trainer(tmp_path / "state.safetensors")
    first.run(7)
    first.save()
    second = trainer(tmp_path / "state.safetensors")
    assert second.progress.epoch == 7
    second.run(20)
    assert torch.equal(parameters(whole), parameters(second))
    assert whole.progress.loss == second.progress.loss


def test_stopping_saves_the_state(tmp_path: Path) -> None:
    found = trainer(tmp_path / "state.safetensors")

    def stop() -> None:
        if found.progress.epoch == 3:
            raise KeyboardInterrupt

    found.check = stop
    with pytest.raises(KeyboardInterrupt):
        found.run(10)
    assert trainer(tmp_path / "state.safetensors").progress.epoch == 3


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    first = trainer(tmp_path / "state.safetensors")
    first.run(1)
    first.save()
    with pytest.raises(ArtifactError, match="another training"):
        trainer(tmp_path / "state.safetensors", learning_rate=1e-3)


def test_divergence_stops_and_keeps_the_last_good_state() -> None:
    found = trainer()
    found.run(2)
    good = parameters(found).clone()
    found.objective = lambda generator, batch, rng: LossRecord(  # type: ignore[assignment]
        transition_loss(generator, batch, rng).loss * math.inf, {}
    )
    with pytest.raises(Diverged, match="epoch 3; no update"):
        found.run(5)
    assert torch.equal(parameters(found), good)
    assert found.progress.epoch == 2


def test_a_state_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    first = trainer(path)
    first.run(2)
    first.save()
    data = path.read_bytes()
    for position in range(0, len(data), 41):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(ArtifactError):
            trainer(path)


def test_nothing_is_saved_before_the_first_epoch(tmp_path: Path) -> None:
    trainer(tmp_path / "state.safetensors").save()
    assert not (tmp_path / "state.safetensors").exists()


def test_token_sequences_train_as_with_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 1)
    ours, theirs = nn.Linear(5, 4), nn.Linear(5, 4)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 5)  # (batch, token, dim)
    own, reference = OuterProductAdam(ours, 1e-2), torch.optim.Adam(theirs.parameters(), 1e-2)
    own.step(ours(x).square().mean())
    theirs(x).square().mean().backward()
    reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_moments_never_become_denormal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 100)
    model = network()
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[0].bias[:5] = -1e3  # units that die after the first step has given them a gradient
    optimizer = OuterProductAdam(model, 1e-3)
    x = torch.randn(6, 40)
    optimizer.step((model(x).sum() + (model[0](x)).sum()).square())
    for _ in range(1100):
        optimizer.step(model(x).square().mean())
    moments = [t for name, t in optimizer.tensors().items() if "exp_avg" in name]
    assert len(moments) == 12
    assert all(((m == 0) | (m.abs() > torch.finfo(m.dtype).tiny)).all() for m in moments)


def test_frozen_weights_stay_and_the_network_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "LARGE", 1)
    network = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    network[1].weight.requires_grad_(False)
    frozen = network[1].weight.clone()
    optimizer = OuterProductAdam(network, 1e-2)
    optimizer.step(network(torch.randn(2, 5)).square().mean())
    optimizer.close()
    assert torch.equal(network[1].weight, frozen)
    network(torch.randn(2, 5)).sum().backward()
    assert network[0].weight.grad is not None
    assert network[1].weight.grad is None
