"""One contract table for all denoisers on token spaces of several shapes, then what is particular to each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weightsmith.denoisers import ConditionBatch, ConditionKinds, Denoiser, GivenBatch, make_denoiser
from weightsmith.denoisers.memory import Memory
from weightsmith.errors import BadInput
from weightsmith.settings.registry import DENOISERS
from weightsmith.tensorfile import read_tensors, write_tensors
from weightsmith.tokens import TokenMeaning, TokenSpace

BATCH = 3
KINDS = ConditionKinds(
    {"accuracy": "logit", "loss": "log"}, {"dataset": ["mnist", "digits"], "architecture": ["mlp", "cnn", "wide"]}
)
CONTRACT: dict[str, dict[str, Any]] = {
    "simple": {"time_embedding": 6, "hidden": 11, "layers": 2},
    "mlp": {"width": 10, "blocks": 2, "condition_width": 6},
    "mlp, with memory": {"width": 10, "blocks": 1, "memory": 7, "condition_width": 6},
    "transformer": {"width": 12, "blocks": 2, "heads": 3, "condition_width": 6},
    "transformer, shared projections": {"width": 12, "blocks": 1, "heads": 2, "projections": "all"},
}
TRANSFORMERS = [name for name in CONTRACT if name.startswith("transformer")]


def chunked() -> TokenSpace:
    """Units of two tensors, those of the first in two chunks of which the second is short; the tensors alternate."""
    meanings, valid = [], []
    for unit in range(2):
        for tensor, chunk, numbers in (("fc1.weight", 0, 4), ("fc1.weight", 1, 2), ("fc2.weight", 0, 3)):
            meanings.append(TokenMeaning(tensor, unit, chunk, "weight"))
            valid.append(torch.arange(4) < numbers)
    return TokenSpace(tuple(meanings), torch.stack(valid))


SPACES = {"one token": TokenSpace.single(5), "padded chunks": chunked()}


def made(name: str, space: TokenSpace, seed: int = 0, **more: Any) -> Any:
    return make_denoiser(name.partition(",")[0], space, KINDS, CONTRACT[name] | more, seed)


def trained(name: str, space: TokenSpace, **more: Any) -> Any:
    """As after training: nothing is zero any more."""
    network = made(name, space, **more)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(space: TokenSpace) -> Tensor:
    return torch.where(space.valid, drawn(BATCH, len(space), space.dim), 0)


TIMES = torch.tensor([0.1, 0.45, 0.9])


def asked() -> ConditionBatch:
    return ConditionBatch.of(
        {
            "accuracy": torch.tensor([0.6, 0.9, 0.97]),
            "loss": torch.tensor([1.2, 0.4, 0.1]),
            "dataset": torch.tensor([0, 1, 1]),
            "architecture": torch.tensor([2, 0, 1]),
        }
    )


@pytest.fixture(params=CONTRACT)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> TokenSpace:
    return SPACES[request.param]


def test_every_registered_denoiser_is_in_the_table() -> None:
    assert {name.partition(",")[0] for name in CONTRACT} == set(DENOISERS)


def test_an_unknown_denoiser_has_a_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"(?s)'transformr'.*nearest: transformer"):
        make_denoiser("transformr", SPACES["one token"], KINDS, {}, 0)


def test_tokens_keep_their_shape_and_padding_is_zero(name: str, space: TokenSpace) -> None:
    network = trained(name, space)
    assert isinstance(network, Denoiser)
    assert isinstance(network, nn.Module)
    y = network(tokens(space), TIMES, asked())
    assert y.shape == (BATCH, len(space), space.dim)
    assert (y[:, ~space.valid] == 0).all()
    assert (y[:, space.valid] != 0).all()


def test_an_adaptive_zero_network_answers_zero_at_first(name: str, space: TokenSpace) -> None:
    y = made(name, space)(tokens(space), TIMES, asked())
    assert bool((y == 0).all()) == (name != "simple")


def test_time_matters(name: str, space: TokenSpace) -> None:
    network, x = trained(name, space), tokens(space)
    assert not torch.allclose(network(x, TIMES), network(x, TIMES + 0.003), atol=1e-5)


@pytest.mark.parametrize("condition", sorted(KINDS.names))
def test_each_condition_matters(name: str, space: TokenSpace, condition: str) -> None:
    network, x, before = trained(name, space), tokens(space), asked()
    value = before.values[condition]
    other = (value + 1) % 2 if condition in KINDS.vocabulary else value * 0.95
    after = ConditionBatch({**before.values, condition: other}, before.present)
    assert not torch.allclose(network(x, TIMES, before), network(x, TIMES, after), atol=1e-5)
    dropped = before.dropped(torch.ones(BATCH, dtype=torch.bool), [condition])
    assert not torch.allclose(network(x, TIMES, before), network(x, TIMES, dropped), atol=1e-5)


def test_dropped_missing_and_no_conditions_are_the_same(name: str, space: TokenSpace) -> None:
    network, x = trained(name, space), tokens(space)
    nothing = network(x, TIMES)
    everything_dropped = asked().dropped(torch.ones(BATCH, dtype=torch.bool))
    empty = ConditionBatch({}, {})
    for conditions in (everything_dropped, asked().unconditional(), empty):
        torch.testing.assert_close(network(x, TIMES, conditions), nothing)
    second = network(x, TIMES, asked().dropped(torch.tensor([False, True, False])))
    torch.testing.assert_close(second[1], nothing[1])
    torch.testing.assert_close(second[[0, 2]], network(x, TIMES, asked())[[0, 2]])


def test_padding_numbers_influence_nothing(name: str) -> None:
    space = SPACES["padded chunks"]
    network, x = trained(name, space, reads_given=True), tokens(space)
    known = drawn(BATCH, len(space), space.dim, seed=2) > 0
    junk = torch.where(space.valid, x, torch.nan)
    clean = network(x, TIMES, None, GivenBatch(x, known))
    torch.testing.assert_close(network(junk, TIMES, None, GivenBatch(junk, known | ~space.valid)), clean)


def test_padding_tokens_influence_nothing(name: str) -> None:
    space = SPACES["padded chunks"]
    network, x = trained(name, space), tokens(space)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    junk = torch.where(mask[:, :, None], x, 1e4 * drawn(*x.shape, seed=3)).masked_fill(~mask[:, :, None], torch.nan)
    zero = torch.where(mask[:, :, None], x, 0)
    y = network(junk, TIMES, mask=mask)
    torch.testing.assert_close(y, network(zero, TIMES, mask=mask))
    assert (y[~mask] == 0).all()
    torch.testing.assert_close(y[0], network(x, TIMES)[0])
    y.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_padding_tokens_are_not_attended_to(name: str) -> None:
    """Their numbers are zero, but their places are not: what stands in the tables for them must not matter."""
    space = SPACES["padded chunks"]
    network, x = trained(name, space), tokens(space)
    mask = torch.tensor([[True] * 3 + [False] * 3] * BATCH)  # of every tensor the first unit is real
    before, unmasked = network(x, TIMES, mask=mask), network(x, TIMES)
    with torch.no_grad():
        network.position.tables["unit"].weight[2:] += 3 * drawn(2, 12)
    torch.testing.assert_close(network(x, TIMES, mask=mask), before)
    assert not torch.allclose(network(x, TIMES)[:, :3], unmasked[:, :3], atol=1e-4)


def test_samples_of_a_batch_do_not_see_one_another(name: str, space: TokenSpace) -> None:
    network, x, conditions = trained(name, space), tokens(space), asked()
    together = network(x, TIMES, conditions)
    alone = [network(x[i : i + 1], TIMES[i : i + 1], conditions[i : i + 1]) for i in range(BATCH)]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=1e-4)


def test_given_values_matter_only_where_known(name: str, space: TokenSpace) -> None:
    network, x, values = trained(name, space, reads_given=True), tokens(space), drawn(BATCH, len(space), space.dim)
    known = torch.zeros(BATCH, len(space), space.dim, dtype=torch.bool)
    nothing = network(x, TIMES)
    torch.testing.assert_close(network(x, TIMES, None, GivenBatch(values, known)), nothing)
    known[:, 0, 1] = True
    y = network(x, TIMES, None, GivenBatch(values, known))
    assert not torch.allclose(y, nothing, atol=1e-5)
    changed = torch.where(known, values, torch.nan)
    torch.testing.assert_close(network(x, TIMES, None, GivenBatch(changed, known)), y)
    assert not torch.allclose(network(x, TIMES, None, GivenBatch(values + 1, known)), y, atol=1e-5)


def test_what_it_does_not_read_is_refused(name: str, space: TokenSpace) -> None:
    network, x = made(name, space), tokens(space)
    with pytest.raises(BadInput, match="reads_given"):
        network(x, TIMES, None, GivenBatch(x, torch.ones_like(x, dtype=torch.bool)))
    with pytest.raises(BadInput, match="network for"):
        network(drawn(BATCH, len(space) + 1, space.dim), TIMES)
    bare = make_denoiser(name.partition(",")[0], space, ConditionKinds(), CONTRACT[name], 0)
    with pytest.raises(BadInput, match=r"(?s)'accuracy'.*no condition"):
        bare(x, TIMES, ConditionBatch.of({"accuracy": torch.full((BATCH,), 0.9)}))


def test_weights_follow_from_the_seed_alone(name: str, space: TokenSpace) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = made(name, space, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = made(name, space, seed=3).state_dict(), made(name, space, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_every_parameter_learns(name: str, space: TokenSpace) -> None:
    network, x = trained(name, space, reads_given=True), tokens(space)
    given = GivenBatch(drawn(*x.shape, seed=4), torch.ones_like(x, dtype=torch.bool))
    some = asked().dropped(torch.tensor([True, False, False]))
    (network(x, TIMES, some, given) - x).square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_a_step_from_the_start_lowers_the_loss(name: str, space: TokenSpace) -> None:
    network, x = made(name, space), tokens(space)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = (network(x, TIMES, asked()) - x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_it_runs_under_bfloat16_autocast(name: str, space: TokenSpace) -> None:
    network, x = trained(name, space, reads_given=True), tokens(space)
    expected = network(x, TIMES, asked())
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, TIMES, asked(), mask=torch.ones(BATCH, len(space), dtype=torch.bool))
        y.square().sum().backward()
    assert y.dtype == torch.float32
    assert ((y - expected).norm() / expected.norm()).item() < 0.1
    assert not torch.equal(y, expected)


def test_a_network_made_without_memory_is_filled_from_a_file(name: str, space: TokenSpace, tmp_path: Path) -> None:
    network, x = trained(name, space, reads_given=True), tokens(space)
    network.conditions.observe({"accuracy": torch.tensor([0.5, 0.9]), "loss": torch.tensor([0.1, 2.0])})
    write_tensors(tmp_path / "model.safetensors", network.state_dict())
    with torch.device("meta"):
        empty = made(name, space, reads_given=True)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty.load_state_dict(read_tensors(tmp_path / "model.safetensors")[0], assign=True)
    given = GivenBatch(x, x > 0)
    torch.testing.assert_close(empty(x, TIMES, asked(), given), network(x, TIMES, asked(), given), rtol=0, atol=0)
    assert float(empty.conditions.continuous["accuracy"].low) == 0.5


def test_shared_and_own_projections_hold_only_columns_in_use() -> None:
    own, shared = (made(name, SPACES["padded chunks"]) for name in TRANSFORMERS)
    assert [layer.in_features for layer in own.enter.layers] == [4, 3]
    assert [layer.in_features for layer in shared.enter.layers] == [4]


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(BadInput, match="5 heads for a width of 12"):
        made("transformer", SPACES["one token"], heads=5)


def test_a_token_is_told_from_another_by_its_place() -> None:
    network = trained("transformer, shared projections", SPACES["padded chunks"])
    table = network.position()
    assert torch.pdist(table).min() > 0.1
    same_numbers = torch.where(SPACES["padded chunks"].valid, 1.0, 0.0).expand(1, -1, -1)
    y = network(same_numbers, TIMES[:1])[0]
    assert not torch.allclose(y[0], y[3], atol=1e-4)


def test_the_transformer_follows_a_reordering_of_its_tokens() -> None:
    """Attention has no order of its own: the same tokens and places in another order give the same answers."""
    space = SPACES["padded chunks"]
    order = [5, 0, 4, 2, 1, 3]
    moved = TokenSpace(tuple(space.meanings[i] for i in order), space.valid[order])
    network, other = trained("transformer", space), made("transformer", moved)
    own = {key: value.clone() for key, value in network.state_dict().items()}
    # Tables and projections are numbered in order of appearance: fc2 comes first now.
    own["position.tables.tensor.weight"] = own["position.tables.tensor.weight"][[1, 0]]
    own["position.tables.unit.weight"] = own["position.tables.unit.weight"][[3, 0, 2, 1]]
    own["position.tables.chunk.weight"] = own["position.tables.chunk.weight"][[2, 0, 1]]
    for side in ("enter", "leave"):
        for kind in ("weight", "bias"):
            first, second = (f"{side}.layers.{i}.{kind}" for i in (0, 1))
            own[first], own[second] = own[second], own[first]
    other.load_state_dict(own)
    x = tokens(space)
    torch.testing.assert_close(other(x[:, order], TIMES), network(x, TIMES)[:, order], atol=1e-5, rtol=1e-4)


def test_memory_recalls_the_value_of_the_nearest_key_and_at_first_nothing() -> None:
    memory = Memory(width=4, slots=3, condition=2)
    h, c = drawn(BATCH, 4), torch.zeros(BATCH, 2)
    assert torch.equal(memory(h, c), h)
    centred = torch.nn.functional.layer_norm(h, (4,), eps=1e-6)
    with torch.no_grad():
        memory.keys.weight.copy_(100 * torch.nn.functional.layer_norm(h, (4,)))  # each state is its own nearest key
        memory.keys.bias.zero_()
        memory.modulation.linear.bias[-4:] = 1.0  # an open gate
    assert (centred @ memory.keys.weight.T).argmax(dim=1).tolist() == [0, 1, 2]
    assert torch.allclose(memory(h, c), h + memory.values.weight.T, atol=1e-5)
