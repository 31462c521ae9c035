"""Rows 26 to 30 for generators over a population, and the mistakes that people make with their recipes and samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run
from small_populations import PLAIN, TEXT, files, make_zoo, recipe, state_of, trained

from weightsmith.architectures import Architecture
from weightsmith.errors import BadInput, Diverged, LayoutMismatch
from weightsmith.interfaces import Condition
from weightsmith.layout import Weights
from weightsmith.pipeline import RunFolder, run_pipeline
from weightsmith.pipeline.population import measure
from weightsmith.pipeline.population.train import _collapse_alarm
from weightsmith.record import read_records
from weightsmith.report.population import summarise
from weightsmith.report.population.verdict import verdict
from weightsmith.synthesizer import Synthesizer
from weightsmith.tensorfile import read_state
from weightsmith.zoo import RowInfo, Zoo

WIDER = Architecture("mlp", (1, 4, 4), 10, {"hidden": [5]})


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_zoo(tmp_path_factory.mktemp("zoo") / "run")


@pytest.fixture(scope="module")
def run(zoo: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("trained") / "run", zoo)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RATE_SECONDS", 0.0)


# Row 29: divergence.


def test_row_29_divergence_keeps_what_was_good(zoo: str, tmp_path: Path, program: Run) -> None:
    (tmp_path / "population.yaml").write_text(TEXT)
    command = ["train", tmp_path / "population.yaml", zoo, "training.learning_rate=1e30", "--out", tmp_path / "run"]
    states = []
    for _ in range(2):  # running again says the same
        done = program(*command)
        assert done.returncode == 1
        assert "training loss is" in done.stderr or "gradient norm is" in done.stderr
        assert "lower training.learning_rate" in done.stderr
        assert "Traceback" not in done.stderr
        tensors, document = read_state(state_of(tmp_path / "run"))
        assert all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())
        states.append((document["progress"]["updates"], sorted(tensors)))
    assert states[0] == states[1]
    kept = [path.parent.name for path in (tmp_path / "run").glob("synthesizer/pipeline-0/*/config.json")]
    assert kept == ["none"], "what was saved before stands"
    Synthesizer.load(tmp_path / "run" / "synthesizer" / "pipeline-0" / "none").sample(1)


def test_row_29_weights_that_the_last_update_broke_are_not_saved(zoo: str, tmp_path: Path) -> None:
    changes = ["training.learning_rate=1e30", "training.budgets={one: 1}", "training.headline=one"]
    for _ in range(2):
        with pytest.raises(Diverged, match=r"training loss is (nan|inf) after epoch 1(.|\n)*lower"):
            trained(tmp_path / "run", zoo, *changes, "training.updates=1", "training.validate_every=0")
    assert not list((tmp_path / "run").glob("synthesizer/pipeline-0/*/config.json"))


# Rows 26 and 30: networks that compute nothing, and sets of which something is not defined.


def poisoned(count: int | None, sample: Callable[..., Weights] = Synthesizer.sample) -> Callable[..., Weights]:
    def poison(self: Synthesizer, n: int, **wanted: Any) -> Weights:
        weights = sample(self, n, **wanted)
        weights.vectors[:count] = float("nan")
        return weights

    return poison


@pytest.mark.parametrize(("count", "sound"), [(1, 3), (None, 0)])
def test_rows_26_30_samples_that_are_not_finite_are_measured_without_sentinels(
    zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, sound: int
) -> None:
    monkeypatch.setattr(Synthesizer, "sample", poisoned(count))
    wanted = recipe(zoo, "training.budgets={some: 1}", "evaluation.given=2", "evaluation.wanted=2")
    run = run_pipeline(wanted, tmp_path / "run")
    summary = summarise(read_records(run.records))
    generated = summary.generated("mlp", "some")
    assert generated["networks"] == 4
    assert generated["not_finite"] == 4 - sound
    assert (generated["accuracy_mean"] is None) == (generated["nearest_ratio"] is None) == (sound == 0)
    assert "compute nothing finite" in " ".join(verdict(summary, "some"))
    assert "generated: some" in run.report.read_text()
    samples = Zoo.open(run.samples)
    assert (len(samples), len(samples.quarantined)) == (sound, 4 - sound)
    run.records.unlink()
    run_pipeline(wanted, tmp_path / "run", until="evaluate")
    samples = Zoo.open(run.samples)
    assert (len(samples), len(samples.quarantined)) == (sound, 4 - sound), "measured again, and stored once"


def test_row_30_networks_that_are_all_the_same_raise_no_alarm(zoo: str, tmp_path: Path) -> None:
    source = Zoo.open(Path(zoo.removeprefix("zoo.folder=")))
    row = source.rows[-1]
    Zoo.create(tmp_path / "same", {"who": "test"})
    with Zoo.writer(tmp_path / "same") as writer:
        for number in range(6):
            info = RowInfo(number, 3, number, {"accuracy": 0.5, "loss": 1.0})
            writer.append(source.read([row]), [info], source.provenance(row))
    same = f"zoo.folder={tmp_path / 'same'}"
    found = trained(tmp_path / "run", same)
    lines = [json.loads(line) for line in found.metrics.read_text().splitlines()]
    assert not [line for line in lines if "alarms" in line]
    with pytest.raises(BadInput, match=r"all networks to fit the pca codec on are the same"):
        trained(tmp_path / "pca", same, "codec=pca", *PLAIN)


def test_row_30_the_alarm_says_what_is_wrong() -> None:
    """Samples of spread 0 collapse, samples that are not numbers are called so, and training networks of no spread
    are compared with nothing."""

    class Constant:
        def __init__(self, value: float) -> None:
            self.value = value

        def sample(self, n: int, condition: Condition, rng: torch.Generator) -> Any:
            values = torch.full((n, 1, 3), self.value)
            return type("Found", (), {"final": type("Tokens", (), {"values": values})})

    spread = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(0))
    progress: Any = None
    assert _collapse_alarm(spread, Condition(), 0)(Constant(1.0), progress) == {
        "ratio": 0.0,
        "alarm": "samples lie 0 as far apart as training networks: collapse",
    }
    assert _collapse_alarm(spread, Condition(), 0)(Constant(float("nan")), progress) == {
        "alarm": "samples are not finite"
    }
    assert _collapse_alarm(torch.ones(5, 1, 3), Condition(), 0)(Constant(1.0), progress) == {}


def test_row_30_one_run_of_many_networks_is_replay_and_compared_with_nothing(tmp_path: Path) -> None:
    changes = ["zoo.runs=1", "population.checkpoints=all", "training.budgets={some: 1}", "evaluation.wanted=2"]
    found = run_pipeline(recipe(*changes), tmp_path / "run")
    summary = summarise(read_records(found.records))
    assert {row["set"] for row in summary.sets} == {"training", "generated"}
    assert "There was one run to learn from, with 3 networks: this is replay" in " ".join(verdict(summary, "some"))
    assert "nearest ratio" not in found.report.read_text()


def test_row_30_equal_wishes_show_no_calibration(tmp_path: Path) -> None:
    found = run_pipeline(recipe("zoo.runs=1", "training.budgets={some: 1}", "evaluation.wanted=3"), tmp_path / "run")
    said = " ".join(verdict(summarise(read_records(found.records)), "some"))
    assert "show no calibration" in said
    assert "r2" not in said


# Bad input: recipes that do not fit together are refused before anything is done.


MISFITS: dict[str, tuple[list[str], str]] = {
    "a wish that is not learned": (
        ["evaluation.wanted=3", "generator.options.conditions=[]"],
        "evaluation.wanted: .*add it to generator.options.conditions",
    ),
    "layers to fill in that are not learned": (
        ["evaluation.given=1", *PLAIN],
        "evaluation.given: .*generator.options.given",
    ),
    "layers of a codec that mixes them": (["codec=pca"], "generator.options.given: .*use codec flat or unit"),
    "wishes from high to low": (
        ["evaluation.wanted=3", "evaluation.wanted_from=0.5", "evaluation.wanted_to=0.4"],
        "evaluation.wanted_from: 0.5 is not below",
    ),
    "a sampler that is none": (["evaluation.samplers={hoin: 3}"], "evaluation.samplers.hoin: .*nearest is 'heun'"),
    "a sampler of another path": (
        ["generator.options.path=vp-linear", "generator.options.sampler=flow-sde"],
        "generator.options.sampler: flow-sde is of the path flow",
    ),
    "a sampler of another path, beside": (
        ["generator.options.path=vp-linear", "evaluation.samplers={flow-sde: 3}"],
        "evaluation.samplers.flow-sde: flow-sde is of the path flow",
    ),
    "heads that do not divide": (
        ["generator.options.denoiser=transformer", "generator.options.heads=3"],
        "generator.options.heads: 3 does not divide the width 16",
    ),
    "memory where there is none": (
        ["generator.options.denoiser=transformer", "generator.options.memory=2"],
        "generator.options.memory: only the denoiser mlp",
    ),
    "patience without validation": (["training.patience=2", "training.validate_every=0"], "training.patience: "),
    "patience without validation runs": (["training.patience=2", "population.validation=0"], "training.patience: "),
    "decay of adam": (["training.weight_decay=0.1"], "training.weight_decay: adam has none"),
    "too few runs": (["zoo.runs=2"], "zoo.runs: 2 runs of mlp cannot be dealt"),
    "too many runs to learn from": (["population.train=9"], "zoo.runs: 10 runs of mlp cannot be dealt into 9"),
    "too few runs of one of two": (
        ["vary.options={hidden: [[4], [5]]}", "zoo.runs=6"],
        r"zoo.runs: \d runs of mlp \d cannot be dealt",
    ),
    "one network for a codec of many": (["zoo.runs=1", "codec=pca", *PLAIN], "codec.name: pca is fitted on several"),
    "one network to train an autoencoder": (
        ["zoo.runs=1", "codec=autoencoder", *PLAIN],
        "codec.name: autoencoder is fitted on several",
    ),
}


@pytest.mark.parametrize(("changes", "said"), MISFITS.values(), ids=MISFITS)
def test_recipes_that_do_not_fit_together_are_refused_before_work_starts(
    tmp_path: Path, changes: list[str], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run_pipeline(recipe(*changes), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_every_misfit_is_named_at_once_also_when_nothing_is_to_be_run(tmp_path: Path, program: Run) -> None:
    (tmp_path / "population.yaml").write_text(TEXT)
    changes = ["zoo.runs=1", "codec=pca", "evaluation.wanted=3", "generator.options.conditions=[]"]
    for command in (["run", "--dry-run"], ["run"], ["train"]):
        done = program(command[0], tmp_path / "population.yaml", *changes, *command[1:])
        assert done.returncode == 2
        places = ("codec.name", "evaluation.wanted", "generator.options.given")
        assert all(f"    {place}: " in done.stderr for place in places), done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["population.yaml"]
    assert program("zoo", "build", tmp_path / "population.yaml", *changes, "--out", "run").returncode == 0


def test_accuracies_that_the_zoo_does_not_hold_are_refused_before_training(zoo: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"accuracy 1 lies outside the trained range"):
        trained(tmp_path / "run", zoo, "evaluation.wanted=3", "evaluation.wanted_to=1")
    assert not (tmp_path / "run" / "synthesizer").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["codec={name: pca, options: {components: 9}}", *PLAIN], "use at most 5 components"),
        (["codec={name: flat, options: {roles: [norm]}}"], r"these networks have \['bias', 'weight'\]"),
        (["codec={name: autoencoder, options: {width: 20, latent: 30}}", *PLAIN], "latent=30 .*use at most 17"),
        (["generator.options.datasets=[spam]"], "dataset"),
    ],
)
def test_what_only_the_zoo_can_tell_is_refused_by_name(zoo: str, tmp_path: Path, changes: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){said}"):
        trained(tmp_path / "run", zoo, *changes)
    assert not (tmp_path / "run" / "synthesizer").exists()


def test_an_accuracy_just_outside_is_warned_of_and_further_is_refused(
    run: RunFolder, program: Run, tmp_path: Path
) -> None:
    """Within 5 % of the trained range outside of it; what is said is for people, and names no line of code."""
    folder = run.synthesizer(0, "some")
    accuracies = Synthesizer.load(folder).generator.network.conditions.continuous["accuracy"]  # type: ignore[attr-defined]
    low, high = float(accuracies.low), float(accuracies.high)
    near = program("sample", folder, "--accuracy", high + 0.04 * (high - low), "--out", tmp_path / "near")
    assert near.returncode == 0
    assert near.stderr.startswith("warning: accuracy ")
    assert "outside the trained range" in near.stderr
    assert len(near.stderr.splitlines()) == 1
    far = program("sample", folder, "--accuracy", high + 0.06 * (high - low), "--out", tmp_path / "far")
    assert far.returncode == 2
    assert f"error: accuracy {high + 0.06 * (high - low):.6g} lies outside the trained range" in far.stderr
    assert not (tmp_path / "far").exists()


def test_networks_of_another_layout_are_refused_by_the_tensor(run: RunFolder) -> None:
    synthesizer = Synthesizer.load(run.synthesizer(0, "some"))
    other = Weights.of(WIDER.build(0))
    for ask in (
        lambda: synthesizer.encode(other),
        lambda: synthesizer.canonical(other),
        lambda: synthesizer.sample(1, given=other, layers=["fc1"]),
        lambda: synthesizer.codec.decode(
            synthesizer.generator.sample(1, Condition(), torch.Generator()).final, other.layout
        ),
    ):
        with pytest.raises(LayoutMismatch, match=r"fc1\.weight"):
            ask()


def test_nothing_is_changed_by_what_is_refused(run: RunFolder) -> None:
    before = files(run.path)
    synthesizer = Synthesizer.load(run.synthesizer(0, "some"))
    for wanted in ({"accuracy": 2.0}, {"accuracy": torch.tensor([0.1, 0.2])}, {"loss": 1.0}, {"sampler": "spam"}):
        with pytest.raises(BadInput):
            synthesizer.sample(3, **wanted)
    assert files(run.path) == before
