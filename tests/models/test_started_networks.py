"""Networks that begin at given weights: they depend on them, are completed from them, and bad starts are named."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_universal import Cumulative, Normalised, Perceptron, Tied, small_started, small_universal
from torch import Tensor, nn
from torch.nn import functional as F

import weightsmith as ws
from weightsmith.architectures import Architecture
from weightsmith.errors import ArtifactError, BadInput
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.universal import SynthesisWarning, UniversalSynthesizer

MODULES: tuple[Callable[[], nn.Module], ...] = (Perceptron, Tied, Normalised, Cumulative)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def started() -> UniversalSynthesizer:
    return small_started()


@pytest.fixture(autouse=True)
def _warnings_are_not_the_point() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SynthesisWarning)
        yield


def same(one: State, other: State) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build()


@pytest.mark.parametrize("build", MODULES)
def test_networks_follow_from_their_starts_alone_and_load(
    started: UniversalSynthesizer, build: Callable[[], nn.Module]
) -> None:
    module, starts = build(), [seeded(build, i).state_dict() for i in range(3)]
    found = started.synthesize(module, start=starts, recalibrate=False)
    assert len(found.networks) == 3
    for state, start in zip(found.networks, starts, strict=True):
        module.load_state_dict(state)
        alone = ws.synthesize(module, synthesizer=started, start=start, seed=9, recalibrate=False)
        assert len(alone) == 1
        assert same(alone[0], state), "no seed counts"
        for name in found.reading.generated:
            if state[name].ndim > 1:
                assert F.cosine_similarity(state[name].flatten(), start[name].flatten(), 0) > 0.1
    one, other = found.networks[:2]
    matrices = [name for name in found.reading.generated if one[name].ndim > 1]
    assert all(not torch.equal(one[name], other[name]) for name in matrices)


@pytest.mark.parametrize("build", MODULES)
def test_without_a_start_each_begins_at_a_standard_initialisation(
    started: UniversalSynthesizer, build: Callable[[], nn.Module]
) -> None:
    module, state = build(), torch.get_rng_state()
    before = copy.deepcopy(module.state_dict())
    found = started.synthesize(module, 3, seed=5, recalibrate=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(before, module.state_dict())
    assert len(found.starts) == 3
    name = next(name for name in found.reading.generated if name.endswith("weight"))
    assert not torch.equal(found.starts[0][name], found.starts[1][name])
    again = started.synthesize(seeded(build, 1), 1, seed=5, recalibrate=False)
    assert same(again.networks[0], found.networks[0]), "what the module holds does not count"
    assert not same(again.networks[0], started.synthesize(module, 1, seed=6, recalibrate=False).networks[0])
    whole = started.synthesize(module, start=list(found.starts), recalibrate=False)
    assert all(torch.equal(whole.networks[2][name], found.networks[2][name]) for name in found.reading.generated)


def test_a_standard_initialisation_is_what_the_module_does_by_itself(started: UniversalSynthesizer) -> None:
    class Odd(Perceptron):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(11))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x.flatten(1))) * self.scale)

    with torch.device("meta"):
        module = Odd()
    start = started.synthesize(module, 1).starts[0]
    assert float(start["first.weight"].abs().max()) <= 1 / 8  # nn.Linear's own: uniform up to 1 / sqrt(inputs)
    assert float(start["first.weight"].std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.1)
    assert start["scale"].unique().numel() == 11, "drawn, since no module initialises it"


def test_initialize_begins_at_the_weights_that_the_module_has(started: UniversalSynthesizer) -> None:
    module = Cumulative()
    with torch.no_grad():
        module.unread.weight.fill_(3.0)
    before = copy.deepcopy(module.state_dict())
    done = ws.initialize(module, synthesizer=started, seed=1)
    assert same(dict(module.state_dict()), done.networks[0])
    assert same(done.networks[0], ws.synthesize(module, synthesizer=started, start=before)[0])
    for name in ("unread.weight", "marks", "count"):
        assert torch.equal(module.state_dict()[name], before[name]), "what is not generated is that of the start"


def test_tied_tensors_may_stand_under_either_name(started: UniversalSynthesizer) -> None:
    module = seeded(Tied, 3)
    start = dict(module.state_dict())
    found = ws.synthesize(module, synthesizer=started, start=start)[0]
    assert torch.equal(found["one.weight"], found["two.weight"])
    for name in ("one.weight", "two.weight"):
        fewer = {key: value for key, value in start.items() if key != name}
        assert same(ws.synthesize(module, synthesizer=started, start=fewer)[0], found)


def test_types_of_the_start_do_not_matter_and_those_of_the_module_stay(started: UniversalSynthesizer) -> None:
    module = Perceptron().double()
    found = ws.synthesize(module, synthesizer=started, start=Perceptron().bfloat16().state_dict())[0]
    assert {value.dtype for value in found.values()} == {torch.float64}


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_row_30_a_constant_start_gives_finite_weights_and_is_told(started: UniversalSynthesizer, value: float) -> None:
    module = Normalised()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    found = started.synthesize(module, start=module.state_dict())
    assert all(bool(tensor.isfinite().all()) for tensor in found.networks[0].values())
    assert any("constant in convolve.weight, head.weight" in text for text in found.warnings)
    with pytest.warns(SynthesisWarning, match="tells no units apart"):
        ws.initialize(module, synthesizer=started)


def test_a_module_without_hidden_units_differs_by_what_stays_of_its_starts(started: UniversalSynthesizer) -> None:
    found = started.synthesize(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 2)
    assert not torch.equal(found.networks[0]["1.weight"], found.networks[1]["1.weight"])
    assert not any("all are the same" in text for text in found.warnings)


def without(state: State, name: str) -> State:
    return {key: value for key, value in state.items() if key != name}


START = Perceptron().state_dict()
BAD: list[tuple[Any, int | None, str]] = [
    (without(START, "last.weight"), None, r"'last.weight' is missing in the start(.|\n)*a state dict of Perceptron"),
    ([START, without(START, "last.weight")], None, r"'last.weight' is missing in the start 1"),
    (Perceptron(12).state_dict(), None, r"'first.weight' of the start is \[12, 64\], not \[11, 64\]"),
    (START | {"last.bias": torch.full((10,), torch.nan)}, None, "'last.bias' of the start holds values .* not finite"),
    (START | {"last.bias": torch.full((10,), 1e300, dtype=torch.float64)}, None, "not finite in float32"),
    (START | {"last.bias": torch.zeros(10).long()}, None, r"'last.bias' of the start is torch.int64"),
    (START | {"last.bias": torch.empty(10, device="meta")}, None, "meta device, without values"),
    (START | {"last.bias": [0.0] * 10}, None, "'last.bias' of the start is a list"),
    ([START, START], 3, "3 networks are asked for from 2 starts"),
    (START, 2, "2 networks are asked for from 1 start:"),
    ([], None, "the start is an empty list"),
    ("weights.pt", None, "the start is a str, not a state dict"),
    (7, None, "the start is a int, not a state dict"),
    (None, 0, "n=0: so many"),
]


@pytest.mark.parametrize(("start", "n", "said"), BAD)
def test_bad_starts_are_named_with_a_remedy(
    started: UniversalSynthesizer, start: Any, n: int | None, said: str
) -> None:
    for ask in (
        lambda: ws.synthesize(Perceptron(), n=n, synthesizer=started, start=start),
        lambda: started.write(started.read(Perceptron()), n, start=start),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            ask()
        assert caught.value.remedy


def test_a_start_for_one_that_writes_from_noise_is_refused() -> None:
    with pytest.raises(BadInput, match=r"writes from noise and reads no start(.|\n)*begin at given weights"):
        ws.synthesize(Perceptron(), synthesizer=small_universal(), start=START)


@pytest.mark.parametrize("compact", [False, True])
def test_a_saved_one_is_of_its_kind_again(started: UniversalSynthesizer, tmp_path: Path, compact: bool) -> None:
    started.save(tmp_path / "s", compact)
    loaded = UniversalSynthesizer.load(tmp_path / "s")
    assert loaded.begins_at_weights
    assert loaded.generator.network.sizes == started.generator.network.sizes
    assert "start=" in (tmp_path / "s" / "README.md").read_text()
    found, expected = (ws.synthesize(Perceptron(), n=2, synthesizer=one) for one in (loaded, started))
    assert all(map(same, found, expected)) != compact
    document = read_sealed_json(tmp_path / "s" / "config.json")
    document["generator"]["name"] = "universal"
    write_sealed_json(tmp_path / "s" / "config.json", document)
    with pytest.raises(ArtifactError, match=r"does not hold what its config\.json says"):
        UniversalSynthesizer.load(tmp_path / "s")


def test_the_large_cnn_can_be_begun_at_any_init(started: UniversalSynthesizer) -> None:
    form = Architecture("target_cnn", (1, 8, 8), 10, {"channels1": 5, "channels2": 6, "hidden": 7})
    one, other = (started.synthesize(form.build(0), start=form.build(i).state_dict()).networks[0] for i in (1, 2))
    assert (one["fc1.weight"] - other["fc1.weight"]).norm() > 0.5 * one["fc1.weight"].norm()
